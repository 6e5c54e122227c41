//! Sets of rows.

/// A set of the rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    rows: usize,
}

const WORD_BITS: usize = u64::BITS as usize;

impl Bitmap {
    /// No row of so many.
    #[must_use]
    pub fn none(rows: usize) -> Self {
        Self { words: vec![0; rows.div_ceil(WORD_BITS)], rows }
    }

    /// Adds a row.
    pub fn set(&mut self, row: usize) {
        self.words[row / WORD_BITS] |= 1 << (row % WORD_BITS);
    }

    /// Whether a row is in it.
    #[must_use]
    pub fn get(&self, row: usize) -> bool {
        self.words[row / WORD_BITS] & 1 << (row % WORD_BITS) != 0
    }

    /// Whether no row is in it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// How many rows are in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps the rows that are also in the other set.
    pub fn and(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine &= theirs);
    }

    /// Adds the rows of the other set.
    pub fn or(&mut self, other: &Self) {
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// The rows that are not in it.
    pub fn invert(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        let used = self.rows % WORD_BITS;
        if let Some(last) = self.words.last_mut().filter(|_| used > 0) {
            *last &= (1 << used) - 1;
        }
    }

    /// The rows in it within a range, in order.
    pub fn rows(&self, range: std::ops::Range<usize>) -> impl Iterator<Item = usize> + '_ {
        let words = range.start / WORD_BITS..range.end.div_ceil(WORD_BITS).min(self.words.len());
        words
            .flat_map(|at| Ones(self.words[at]).map(move |bit| at * WORD_BITS + bit))
            .filter(move |row| range.contains(row))
    }
}

struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_kept_apart() {
        let mut set = Bitmap::none(130);
        [0, 63, 64, 129].into_iter().for_each(|row| set.set(row));
        assert_eq!(set.rows(0..130).collect::<Vec<_>>(), [0, 63, 64, 129]);
        assert_eq!(set.rows(1..129).collect::<Vec<_>>(), [63, 64]);
        assert!(set.get(64) && !set.get(65));
        set.invert();
        assert_eq!(set.count(), 126);
        let mut other = Bitmap::none(130);
        other.set(1);
        other.and(&set);
        assert_eq!(other.rows(0..130).collect::<Vec<_>>(), [1]);
        set.or(&other);
        assert!(!set.is_none());
    }
}
