//! Conditions over sets of rows.

use std::borrow::Cow;

use super::bitmap::Bitmap;
use super::matcher::PredicateId;
use crate::sigma::Expr;

/// What is known of each predicate in a batch; none for a predicate that no row meets.
pub(crate) type Facts = [Option<Bitmap>];

/// Rows that meet an expression. `None` and `All` spare most rules most of their work.
enum Rows<'f> {
    None,
    All,
    Some(Cow<'f, Bitmap>),
}

/// The rows that meet a condition; none if no row does.
pub(crate) fn evaluate(condition: &Expr<PredicateId>, facts: &Facts, rows: usize) -> Option<Bitmap> {
    match run(condition, facts, rows) {
        Rows::None => None,
        Rows::Some(set) if set.is_none() => None,
        Rows::Some(set) => Some(set.into_owned()),
        Rows::All => {
            let mut all = Bitmap::none(rows);
            all.invert();
            Some(all)
        }
    }
}

fn run<'f>(expr: &Expr<PredicateId>, facts: &'f Facts, rows: usize) -> Rows<'f> {
    match expr {
        Expr::Leaf(id) => facts[*id as usize].as_ref().map_or(Rows::None, |set| Rows::Some(Cow::Borrowed(set))),
        Expr::And(of) => and(of, facts, rows),
        Expr::Or(of) => or(of, facts, rows),
        Expr::AtLeast(count, of) => at_least(*count, of, facts, rows),
        Expr::Not(inner) => match run(inner, facts, rows) {
            Rows::None => Rows::All,
            Rows::All => Rows::None,
            Rows::Some(set) => {
                let mut set = set.into_owned();
                set.invert();
                Rows::Some(Cow::Owned(set))
            }
        },
    }
}

fn and<'f>(of: &[Expr<PredicateId>], facts: &'f Facts, rows: usize) -> Rows<'f> {
    let mut result = Rows::All;
    for expr in of {
        match (run(expr, facts, rows), &mut result) {
            (Rows::None, _) => return Rows::None,
            (Rows::All, _) => {}
            (set, Rows::All) => result = set,
            (Rows::Some(set), Rows::Some(sum)) => {
                sum.to_mut().and(&set);
                if sum.is_none() {
                    return Rows::None;
                }
            }
            (_, Rows::None) => return Rows::None,
        }
    }
    result
}

fn or<'f>(of: &[Expr<PredicateId>], facts: &'f Facts, rows: usize) -> Rows<'f> {
    let mut result = Rows::None;
    for expr in of {
        match (run(expr, facts, rows), &mut result) {
            (Rows::All, _) => return Rows::All,
            (Rows::None, _) => {}
            (set, Rows::None) => result = set,
            (Rows::Some(set), Rows::Some(sum)) => sum.to_mut().or(&set),
            (_, Rows::All) => return Rows::All,
        }
    }
    result
}

/// `sums[n]` holds the rows that met more than `n` expressions so far.
fn at_least<'f>(count: usize, of: &[Expr<PredicateId>], facts: &'f Facts, rows: usize) -> Rows<'f> {
    let mut sums = vec![Bitmap::none(rows); count];
    for expr in of {
        let set = match run(expr, facts, rows) {
            Rows::None => continue,
            Rows::Some(set) => set.into_owned(),
            Rows::All => {
                let mut all = Bitmap::none(rows);
                all.invert();
                all
            }
        };
        for level in (0..count).rev() {
            let mut carried = set.clone();
            if level > 0 {
                carried.and(&sums[level - 1]);
            }
            sums[level].or(&carried);
        }
    }
    sums.pop().map_or(Rows::All, |last| Rows::Some(Cow::Owned(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_row_by_row() {
        const ROWS: usize = 100;
        let fact = |step: usize| {
            let mut set = Bitmap::none(ROWS);
            (0..ROWS).step_by(step).for_each(|row| set.set(row));
            Some(set)
        };
        let facts = [fact(2), fact(3), fact(5), None];
        let leaf = |id| Expr::Leaf(id);
        let conditions = [
            leaf(3),
            leaf(0).negate(),
            leaf(3).negate(),
            Expr::And(vec![leaf(0), leaf(1)]),
            Expr::And(vec![leaf(0), leaf(3)]),
            Expr::And(vec![]),
            Expr::Or(vec![]),
            Expr::Or(vec![leaf(3), leaf(1), leaf(2)]),
            Expr::Or(vec![leaf(3).negate(), leaf(1)]),
            Expr::And(vec![leaf(3).negate(), leaf(1), leaf(2).negate()]),
            Expr::AtLeast(2, vec![leaf(0), leaf(1), leaf(2), leaf(3)]),
            Expr::AtLeast(2, vec![leaf(0), leaf(3).negate()]),
            Expr::AtLeast(3, vec![leaf(0), leaf(1), leaf(2)]).negate(),
        ];
        for condition in conditions {
            let found = evaluate(&condition, &facts, ROWS);
            for row in 0..ROWS {
                let expected = condition.decide(&mut |&id| facts[id as usize].as_ref().is_some_and(|set| set.get(row)));
                assert_eq!(found.as_ref().is_some_and(|set| set.get(row)), expected, "{condition:?} row {row}");
            }
        }
    }
}
