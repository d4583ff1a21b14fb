//! Words in a configuration: which names are allowed, and which one was probably meant.

/// What is wrong with the name of an application, instance, table, source or field; `None` if nothing is.
pub(super) fn bad_name(name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if name.is_empty() {
        return Some("a name may not be empty".to_owned());
    }
    if name.len() > 100 {
        return Some(format!("a name may have 100 characters, this one has {}", name.len()));
    }
    let wrong = name.chars().find(|c| !legal(*c))?;
    Some(format!("{name:?} holds {wrong:?}: names are made of a-z, 0-9, _ and -"))
}

/// What is wrong with the name of a table or field beyond [`bad_name`]: what starts with `_` or `@` is Keld's own.
pub(super) fn reserved_name(name: &str) -> Option<String> {
    name.starts_with(['_', '@']).then(|| format!("{name:?}: names that start with _ or @ are Keld's own"))
}

/// What is wrong with the name of a topic, by Kafka's rules; `None` if nothing is.
pub(super) fn bad_topic(name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name == "." || name == ".." {
        return Some(format!("{name:?} is no name for a topic"));
    }
    if name.len() > 249 {
        return Some(format!("a topic's name may have 249 characters, this one has {}", name.len()));
    }
    let wrong = name.chars().find(|c| !legal(*c))?;
    Some(format!("{name:?} holds {wrong:?}: names of topics are made of a-z, A-Z, 0-9, . _ and -"))
}

/// The word of `known` that `word` was probably meant to be: at most a third of its letters wrong, at least one allowed.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    known.into_iter().map(|k| (distance(&word, k), k)).filter(|(d, _)| *d <= allowed).min().map(|(_, k)| k)
}

/// `(one of: a, b; did you mean "b"?)`, for a word that is not among `known`.
pub(super) fn hint(word: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("(one of: {all}; did you mean {near:?}?)"),
        None => format!("(one of: {all})"),
    }
}

/// Letters to insert, drop, replace or swap with their neighbour on the way from `a` to `b` (no letter touched twice).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_single_slips() {
        for (a, b, d) in [
            ("", "", 0),
            ("", "abc", 3),
            ("float", "float", 0),
            ("flaot", "float", 1),
            ("flot", "float", 1),
            ("floatt", "float", 1),
            ("fluat", "float", 1),
            ("kitten", "sitting", 3),
            ("ca", "abc", 3),
        ] {
            assert_eq!(distance(a, b), d, "{a} -> {b}");
            assert_eq!(distance(b, a), d, "{b} -> {a}");
        }
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_it_is_near() {
        let known = ["min_gap", "commit_interval", "on_gap"];
        assert_eq!(nearest("commit-interval", known), Some("commit_interval"));
        assert_eq!(nearest("MinGap", known), Some("min_gap"));
        assert_eq!(nearest("retention", known), None);
    }

    #[test]
    fn names_and_topics_follow_their_rules() {
        assert_eq!(bad_name("a-b_9"), None);
        assert!(bad_name("Shop").is_some() && bad_name("").is_some() && bad_name("a.b").is_some());
        assert_eq!(bad_topic(&"x".repeat(249)), None);
        assert!(bad_topic(&"x".repeat(250)).is_some() && bad_topic("..").is_some() && bad_topic("a b").is_some());
        assert!(reserved_name("_key").is_some() && reserved_name("key_").is_none());
    }
}
