//! `simple_query_string`: a grammar in which every text means something. `+` and, `|` or, `-` not, "a phrase", `word*`, `word~1`,
//! brackets; whatever stands where it means nothing is passed over.

use crate::query::clause::{Bool, Clause, Fuzziness, Least, Words};

/// Deepest nesting of brackets.
const DEEPEST: usize = 20;

/// Where words are looked for, and how they are joined.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) fields: Vec<(String, f32)>,
    /// Whether words without an operator between them must all be there.
    pub(super) all: bool,
    pub(super) least: Option<Least>,
}

/// Most words and phrases, times the fields that they are looked for in.
const MOST_LEAVES: usize = 1_024;

/// Whether so many words may be looked for in so many fields; else what was expected.
pub(super) fn within_limits(words: usize, fields: usize) -> Result<(), String> {
    match words.saturating_mul(fields.max(1)) <= MOST_LEAVES {
        true => Ok(()),
        false => Err(format!("expected at most {MOST_LEAVES} words, times fields")),
    }
}

/// The clause of a text; what was expected, where it asks for too much.
pub(super) fn parse(text: &str, scope: &Scope) -> Result<Clause, String> {
    let letters: Vec<char> = text.chars().collect();
    let mut parser = Parser { letters: &letters, at: 0, scope, parts: 0 };
    let found = parser.group(0)?;
    Ok(found.unwrap_or(Clause::Nothing))
}

/// Both of these. What was joined so before takes one more: a row of operators is no nesting.
fn both(before: Clause, part: Clause) -> Clause {
    match before {
        Clause::Bool(Bool { mut must, filter, should, must_not, least })
            if filter.is_empty() && should.is_empty() && must_not.is_empty() && least.is_none() =>
        {
            must.push(part);
            Clause::all_of(must)
        }
        before => Clause::all_of(vec![before, part]),
    }
}

/// Either of these, as [`both`].
fn either(before: Clause, part: Clause) -> Clause {
    match before {
        Clause::Bool(Bool { must, filter, mut should, must_not, least })
            if must.is_empty() && filter.is_empty() && must_not.is_empty() && least.is_none() =>
        {
            should.push(part);
            Clause::any_of(should)
        }
        before => Clause::any_of(vec![before, part]),
    }
}

struct Parser<'a> {
    letters: &'a [char],
    at: usize,
    scope: &'a Scope,
    /// Words and phrases so far.
    parts: usize,
}

/// How a part joins what stands before it.
#[derive(Clone, Copy, PartialEq)]
enum Join {
    Default,
    And,
    Or,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.get(self.at).copied();
        self.at += usize::from(letter.is_some());
        letter
    }

    fn peek(&self) -> Option<char> {
        self.letters.get(self.at).copied()
    }

    /// What stands up to the end, or to the bracket that closes it.
    fn group(&mut self, depth: usize) -> Result<Option<Clause>, String> {
        let (mut left, mut turns): (Option<Clause>, usize) = (None, 0);
        let mut last = Join::Default;
        let (mut loose, mut join, mut negated) = (Vec::new(), Join::Default, false);
        while let Some(letter) = self.next() {
            let part = match letter {
                ')' if depth > 0 => break,
                '+' => {
                    join = Join::And;
                    continue;
                }
                '|' => {
                    join = Join::Or;
                    continue;
                }
                '-' => {
                    negated = true;
                    continue;
                }
                '(' if depth < DEEPEST => self.group(depth + 1)?,
                '"' => self.phrase(),
                letter if letter.is_whitespace() || matches!(letter, '(' | ')') => continue,
                letter => self.word(letter),
            };
            let Some(part) = part else { continue };
            self.parts += 1;
            within_limits(self.parts, self.scope.fields.len())?;
            // Where and and or take turns, each stands around what came before.
            turns = if join == Join::Default { 0 } else { turns + usize::from(join != last) };
            last = join;
            if turns > DEEPEST {
                return Err(format!("expected at most {DEEPEST} turns between + and | in a row"));
            }
            let part = if negated { part.negated() } else { part };
            negated = false;
            match (join, left.take()) {
                (_, None) => left = Some(part),
                (Join::Default, Some(before)) => {
                    loose.push(before);
                    left = Some(part);
                }
                (Join::And, Some(before)) => left = Some(both(before, part)),
                (Join::Or, Some(before)) => left = Some(either(before, part)),
            }
            join = Join::Default;
        }
        loose.extend(left);
        Ok(match loose.len() {
            0 => None,
            1 => loose.pop(),
            _ if self.scope.all => Some(Clause::all_of(loose)),
            _ => Some(Clause::Bool(Bool { should: loose, least: self.scope.least.clone(), ..Bool::default() })),
        })
    }

    /// The number behind a tilde, if one stands here.
    fn tilde(&mut self) -> Option<u32> {
        if self.peek() != Some('~') {
            return None;
        }
        self.at += 1;
        let mut digits = String::new();
        while let Some(digit) = self.peek().filter(char::is_ascii_digit) {
            digits.push(digit);
            self.at += 1;
        }
        Some(digits.parse().unwrap_or(2))
    }

    fn phrase(&mut self) -> Option<Clause> {
        let mut text = String::new();
        while let Some(letter) = self.next().filter(|c| *c != '"') {
            text.push(if letter == '\\' { self.next().unwrap_or('\\') } else { letter });
        }
        let slop = self.tilde().unwrap_or(0);
        if text.trim().is_empty() {
            return None;
        }
        let one = |field: &str| Clause::Phrase { field: field.to_owned(), text: text.clone(), slop, prefix: false };
        Some(self.in_fields(one))
    }

    fn word(&mut self, first: char) -> Option<Clause> {
        let mut text = String::new();
        let mut letter = Some(first);
        let mut fuzzy = None;
        while let Some(now) = letter {
            match now {
                '\\' => text.push(self.next().unwrap_or('\\')),
                '~' => {
                    self.at -= 1;
                    fuzzy = self.tilde();
                }
                now => text.push(now),
            }
            let ends = |c: &char| c.is_whitespace() || matches!(c, '(' | ')' | '"' | '|' | '+');
            letter = if self.peek().as_ref().is_some_and(ends) { None } else { self.next() };
        }
        let prefix = text.ends_with('*') && text.len() > 1;
        if prefix {
            text.pop();
        }
        if text.trim_matches('*').is_empty() {
            return None;
        }
        let fuzziness = fuzzy.map(|n| Fuzziness::Letters(u8::try_from(n.min(2)).unwrap_or(2)));
        let words = |field: &str| {
            Clause::Words(Words {
                field: field.to_owned(),
                text: text.clone(),
                all: self.scope.all,
                fuzziness: fuzziness.filter(|f| *f != Fuzziness::Letters(0)),
                prefix,
                lenient: true,
                // A sign that is no word holds of everything where all must hold.
                none_is_all: self.scope.all,
                ..Words::default()
            })
        };
        Some(self.in_fields(words))
    }

    fn in_fields(&self, one: impl Fn(&str) -> Clause) -> Clause {
        let all: Vec<Clause> = self.scope.fields.iter().map(|(field, boost)| one(field).boosted(*boost)).collect();
        match all.len() {
            0 | 1 => Clause::any_of(all),
            _ => Clause::Best { of: all, tie_breaker: 1.0 },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(all: bool) -> Scope {
        Scope { fields: vec![("t".to_owned(), 1.0)], all, least: None }
    }

    /// A clause in a few letters.
    fn shown(clause: &Clause) -> String {
        let list = |all: &[Clause]| all.iter().map(shown).collect::<Vec<_>>().join(" ");
        match clause {
            Clause::Words(w) => {
                let marks = (
                    if w.prefix { "*" } else { "" },
                    w.fuzziness.map_or(String::new(), |f| format!("~{}", f.of("abcdef"))),
                );
                format!("{}{}{}", w.text, marks.0, marks.1)
            }
            Clause::Phrase { text, slop, .. } => format!("'{text}'~{slop}"),
            Clause::Bool(b) if !b.must.is_empty() => format!("and({})", list(&b.must)),
            Clause::Bool(b) if !b.should.is_empty() => format!("or({})", list(&b.should)),
            Clause::Bool(b) => format!("not({})", list(&b.must_not)),
            Clause::Nothing => "nothing".to_owned(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn operators_join_words_and_nothing_is_an_error() {
        let cases = [
            ("a b", "or(a b)"),
            ("a + b", "and(a b)"),
            ("a | b", "or(a b)"),
            ("a +b | c", "or(and(a b) c)"),
            ("a -b", "or(a not(b))"),
            ("(a + b) | \"c d\"~2", "or(and(a b) 'c d'~2)"),
            ("ket* kettel~1", "or(ket* kettel~1)"),
            ("wi-fi", "wi-fi"),
            ("a\\+b", "a+b"),
            ("((((", "nothing"),
            ("\"", "nothing"),
            ("* ~ ) | +", "nothing"),
            ("a\"b c\"", "or(a 'b c'~0)"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(&parse(text, &scope(false)).unwrap()), expected, "{text}");
        }
        assert_eq!(shown(&parse("a b -c", &scope(true)).unwrap()), "and(a b not(c))");
        // A row of operators is no nesting.
        assert_eq!(shown(&parse("a+b+c|d|e+f", &scope(false)).unwrap()), "and(or(and(a b c) d e) f)");
        parse(&"a+".repeat(1_000), &scope(false)).unwrap();
        parse(&"a+".repeat(10_000), &scope(false)).unwrap_err();
        parse(&"a ".repeat(10_000), &scope(false)).unwrap_err();
        parse(&"a+b|".repeat(500), &scope(false)).unwrap_err();
        parse(&"(".repeat(10_000), &scope(true)).unwrap();
        parse(&"-".repeat(10_000), &scope(true)).unwrap();
    }
}
