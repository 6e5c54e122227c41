//! Conditions: `and`, `or`, `not`, parentheses, `N of x*`, `all of x*`, `1 of them`, over named search identifiers.

use super::logic::Expr;

/// Levels of parentheses and `not` in a condition at most.
const MAX_DEPTH: usize = 32;

/// Reads a condition; `names` are the search identifiers there are, leaves are their indexes.
///
/// # Errors
/// With the reason and the word it is about.
pub fn parse(text: &str, names: &[String]) -> Result<Expr<usize>, String> {
    if text.contains('|') {
        return Err("aggregations after '|' are out of date: write a correlation rule".to_owned());
    }
    let mut parser = Parser { words: words(text), at: 0, names };
    let expr = parser.or(0)?;
    match parser.next() {
        None => Ok(expr),
        Some(word) => Err(format!("'{word}' is not expected in '{text}'")),
    }
}

fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for token in text.split_whitespace() {
        let mut rest = token;
        while let Some(at) = rest.find(['(', ')']) {
            words.extend((at > 0).then_some(&rest[..at]));
            words.push(&rest[at..=at]);
            rest = &rest[at + 1..];
        }
        words.extend((!rest.is_empty()).then_some(rest));
    }
    words
}

struct Parser<'a> {
    words: Vec<&'a str>,
    at: usize,
    names: &'a [String],
}

impl<'a> Parser<'a> {
    fn peek(&self, ahead: usize) -> Option<&'a str> {
        self.words.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<&'a str> {
        let word = self.peek(0);
        self.at += usize::from(word.is_some());
        word
    }

    fn next_is(&mut self, keyword: &str) -> bool {
        let found = self.peek(0).is_some_and(|word| word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Expr<usize>, String> {
        let mut of = vec![self.and(depth)?];
        while self.next_is("or") {
            of.push(self.and(depth)?);
        }
        Ok(Expr::any(of))
    }

    fn and(&mut self, depth: usize) -> Result<Expr<usize>, String> {
        let mut of = vec![self.not(depth)?];
        while self.next_is("and") {
            of.push(self.not(depth)?);
        }
        Ok(Expr::all(of))
    }

    fn not(&mut self, depth: usize) -> Result<Expr<usize>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels"));
        }
        if self.next_is("not") {
            return Ok(self.not(depth + 1)?.negate());
        }
        if self.next_is("(") {
            let inner = self.or(depth + 1)?;
            return if self.next_is(")") { Ok(inner) } else { Err("')' is missing".to_owned()) };
        }
        if self.peek(1).is_some_and(|word| word.eq_ignore_ascii_case("of")) {
            return self.quantified();
        }
        let name = self.next().ok_or("ends where a search identifier is expected")?;
        match self.names.iter().position(|known| known == name) {
            Some(index) => Ok(Expr::Leaf(index)),
            None => Err(format!("search identifier '{name}' is not defined")),
        }
    }

    fn quantified(&mut self) -> Result<Expr<usize>, String> {
        let quantity = self.next().unwrap_or_default();
        self.at += 1;
        let pattern = self.next().ok_or("ends after 'of'")?;
        let of: Vec<_> =
            (0..self.names.len()).filter(|&at| selects(pattern, &self.names[at])).map(Expr::Leaf).collect();
        if of.is_empty() {
            return Err(format!("'{quantity} of {pattern}': no search identifier is named so"));
        }
        if quantity.eq_ignore_ascii_case("all") {
            return Ok(Expr::all(of));
        }
        match quantity.parse::<usize>() {
            Ok(1) => Ok(Expr::any(of)),
            Ok(0) | Err(_) if !quantity.eq_ignore_ascii_case("any") => {
                Err(format!("'{quantity} of {pattern}': a number from 1, 'any' or 'all' is expected"))
            }
            Ok(count) if count > of.len() => Err(format!("'{quantity} of {pattern}': there are only {}", of.len())),
            Ok(count) => Ok(Expr::AtLeast(count, of)),
            Err(_) => Ok(Expr::any(of)),
        }
    }
}

/// `them` leaves out names that begin with an underscore.
fn selects(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case("them") {
        return !name.starts_with('_');
    }
    super::pattern::Pattern::parse(pattern).matches(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(condition: &str, facts: &[(&str, bool)]) -> Result<bool, String> {
        let names: Vec<_> = facts.iter().map(|(name, _)| (*name).to_owned()).collect();
        Ok(parse(condition, &names)?.decide(&mut |&at| facts[at].1))
    }

    #[test]
    fn conditions_follow_precedence_and_quantifiers() {
        let facts = [("sel_a", true), ("sel_b", false), ("sel_c", true), ("filter", false), ("_x", false)];
        for (condition, expected) in [
            ("sel_a", true),
            ("sel_a and sel_b", false),
            ("sel_b or sel_a and sel_c", true),
            ("(sel_b or sel_a) and filter", false),
            ("not filter and sel_a", true),
            ("not (sel_a or filter)", false),
            ("not not sel_a", true),
            ("1 of sel_*", true),
            ("2 of sel_*", true),
            ("3 of sel_*", false),
            ("all of sel_*", false),
            ("any of sel_*", true),
            ("1 of them", true),
            ("all of them", false),
            ("sel_a AND NOT 1 of filter*", true),
            ("all of sel_a", true),
        ] {
            assert_eq!(decide(condition, &facts), Ok(expected), "{condition}");
        }
        assert_eq!(decide("all of them", &[("a", true), ("_b", false)]), Ok(true));
    }

    #[test]
    fn mistakes_are_named() {
        for (condition, reason) in [
            ("", "ends where"),
            ("nothing", "'nothing' is not defined"),
            ("a and", "ends where"),
            ("(a", "')' is missing"),
            ("a b", "'b' is not expected"),
            ("2 of a*", "there are only 1"),
            ("0 of a*", "a number from 1"),
            ("1 of x*", "no search identifier"),
            ("a | count() > 5", "correlation rule"),
        ] {
            let error = decide(condition, &[("a", true)]).unwrap_err();
            assert!(error.contains(reason), "{condition}: {error}");
        }
        let deep = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(decide(&deep, &[("a", true)]).is_err());
    }
}
