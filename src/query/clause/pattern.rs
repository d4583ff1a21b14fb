//! Patterns as regular expressions of the index, whose automata match terms from their beginning to their end.

use std::fmt::Write as _;

/// Longest pattern, bytes.
const LONGEST: usize = 256;
/// What has a meaning in a regular expression of the index.
const SPECIAL: &str = r"\.+*?()|[]{}^$#&-~";
/// Operators of Lucene that the index does not have.
const UNKNOWN: &str = "~&@<>\"#";

/// A regular expression, and what everything that it matches begins with.
pub type Expression = (String, String);

/// Of a pattern in which `*` stands for any letters and `?` for one; a backslash takes its meaning from the letter behind it.
pub fn of_wildcard(pattern: &str, ignore_case: bool) -> Result<Expression, String> {
    check(pattern)?;
    let (mut regex, mut beginning, mut literal) = (String::new(), String::new(), true);
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '*' | '?' => {
                literal = false;
                regex.push_str(if letter == '*' { "(?s:.*)" } else { "(?s:.)" });
            }
            letter => {
                let letter = if letter == '\\' { letters.next().unwrap_or('\\') } else { letter };
                push_literal(&mut regex, letter);
                if literal {
                    beginning.push(letter);
                }
            }
        }
    }
    Ok(cased(regex, beginning, ignore_case))
}

/// Of a regular expression as Lucene writes them.
pub fn of_lucene(pattern: &str, ignore_case: bool) -> Result<Expression, String> {
    check(pattern)?;
    let (mut regex, mut in_class) = (String::new(), false);
    let mut letters = pattern.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(class @ ('d' | 'D' | 's' | 'S' | 'w' | 'W')) => {
                    let _ = write!(regex, "\\{class}");
                }
                Some(escaped) => push_literal(&mut regex, escaped),
                None => return Err("ends with a backslash".to_owned()),
            },
            '[' if !in_class => {
                in_class = true;
                regex.push('[');
            }
            ']' => {
                in_class = false;
                regex.push(']');
            }
            // Anchors are letters in Lucene, but for the one that negates a class.
            '^' if in_class && regex.ends_with('[') => regex.push('^'),
            '^' | '$' => push_literal(&mut regex, letter),
            '-' if in_class => regex.push('-'),
            '.' if !in_class => regex.push_str("(?s:.)"),
            operator if UNKNOWN.contains(operator) && !in_class => {
                return Err(format!("has the operator {operator:?}, which is not known here: write \\{operator}"));
            }
            letter if in_class || UNKNOWN.contains(letter) => push_literal(&mut regex, letter),
            letter => regex.push(letter),
        }
    }
    let ends = pattern.contains('|');
    // A letter that is repeated need not be there.
    let plain = pattern.find(|c: char| SPECIAL.contains(c) || UNKNOWN.contains(c)).unwrap_or(pattern.len());
    let repeated = pattern[plain..].starts_with(['*', '?', '{']);
    let mut beginning: String = if ends { String::new() } else { pattern[..plain].to_owned() };
    if repeated {
        beginning.pop();
    }
    Ok(cased(regex, beginning, ignore_case))
}

fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > LONGEST {
        return Err(format!("has {} bytes, expected at most {LONGEST}", pattern.len()));
    }
    Ok(())
}

fn cased(regex: String, beginning: String, ignore_case: bool) -> Expression {
    if ignore_case { (format!("(?i:{regex})"), String::new()) } else { (regex, beginning) }
}

fn push_literal(regex: &mut String, letter: char) {
    if SPECIAL.contains(letter) {
        regex.push('\\');
    }
    regex.push(letter);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expression(regex: &str, beginning: &str) -> Result<Expression, String> {
        Ok((regex.to_owned(), beginning.to_owned()))
    }

    #[test]
    fn wildcards_stand_for_letters_and_everything_else_for_itself() {
        assert_eq!(of_wildcard("ke*t?l", false), expression("ke(?s:.*)t(?s:.)l", "ke"));
        assert_eq!(of_wildcard(r"a.b\*c", false), expression(r"a\.b\*c", "a.b*c"));
        assert_eq!(of_wildcard("Ab*", true), expression("(?i:Ab(?s:.*))", ""));
        assert!(of_wildcard(&"x".repeat(300), false).is_err());
    }

    #[test]
    fn expressions_of_lucene_keep_their_meaning() {
        assert_eq!(of_lucene("ab+c.*", false), expression("ab+c(?s:.)*", "ab"));
        assert_eq!(of_lucene("ab?c", false), expression("ab?c", "a"));
        assert_eq!(of_lucene("abc|d", false), expression("abc|d", ""));
        assert_eq!(of_lucene(r"a\@b\d[^x-z]", false), expression(r"a@b\d[^x-z]", "a"));
        assert_eq!(of_lucene("^a$", false), expression(r"\^a\$", ""));
        for bad in ["a~b", "a&b", "x\\", "<1-5>"] {
            assert!(of_lucene(bad, false).is_err(), "{bad}");
        }
    }
}
