//! How many of some clauses must hold: `2`, `-1`, `75%`, `-25%`, or by their number, `2<75% 9<-3`.

use serde::{Deserialize, Serialize};

/// A number of clauses, told by how many there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Least(Vec<(usize, Share)>);

/// A part of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Share {
    /// So many; where negative, all but so many.
    Count(i64),
    /// So many in a hundred; where negative, all but so many.
    Percent(i64),
}

impl Least {
    /// So many.
    pub fn count(n: i64) -> Self {
        Self(vec![(0, Share::Count(n))])
    }

    /// Reads a specification; what was expected, where it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("found {text:?}, expected such as 2, -1, 75%, -25% or \"2<75% 9<-3\"");
        let mut parts = Vec::new();
        // Blanks may stand around `<`, too.
        for part in text.replace(" <", "<").replace("< ", "<").split_whitespace() {
            let (above, share) = match part.split_once('<') {
                Some((above, share)) => (above.parse().map_err(|_| wrong())?, share),
                None => (0, part),
            };
            let share = match share.strip_suffix('%') {
                Some(percent) => percent.parse().ok().filter(|p| (-100..=100).contains(p)).map(Share::Percent),
                None => share.parse().ok().map(Share::Count),
            };
            parts.push((above, share.ok_or_else(wrong)?));
        }
        if parts.is_empty() { Err(wrong()) } else { Ok(Self(parts)) }
    }

    /// How many of `n` clauses must hold; more than `n` where the specification says so.
    pub fn of(&self, n: usize) -> usize {
        // Up to the number in front of the first condition all must hold.
        let applies = self.0.iter().take_while(|(above, _)| *above == 0 || n > *above).last();
        let Some((_, share)) = applies else { return n };
        let all = i64::try_from(n).unwrap_or(i64::MAX);
        let part = |percent: i64| all.saturating_mul(percent) / 100;
        let least = match share {
            Share::Count(count) if *count < 0 => all.saturating_add(*count),
            Share::Count(count) => *count,
            Share::Percent(percent) if *percent < 0 => all + part(*percent),
            Share::Percent(percent) => part(*percent),
        };
        usize::try_from(least).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_shares_are_counted_as_elsewhere() {
        // Specification, number of clauses, how many must hold.
        let cases = [
            ("2", 5, 2),
            ("-1", 5, 4),
            ("-9", 5, 0),
            ("7", 5, 7),
            ("75%", 5, 3),
            ("-25%", 5, 4),
            ("100%", 3, 3),
            ("0%", 3, 0),
            ("3<90%", 3, 3),
            ("3<90%", 10, 9),
            ("2<-25% 9<-3", 2, 2),
            ("2<-25% 9<-3", 9, 7),
            ("2<-25% 9<-3", 10, 7),
            ("2 < 50%", 4, 2),
        ];
        for (text, n, expected) in cases {
            assert_eq!(Least::parse(text).unwrap().of(n), expected, "{text} of {n}");
        }
        for text in ["", "x", "5 %", "120%", "<3", "2<", "1.5"] {
            assert!(Least::parse(text).is_err(), "{text}");
        }
    }
}
