//! How much work a query is, as far as that can be told without running it.

use tantivy::Term;
use tantivy::query::{BooleanQuery, EmptyQuery, Query, TermQuery};

use super::conjunction::Conjunction;
use super::view::View;
use crate::Result;

impl View {
    /// Whether the query is one of words alone, those of filters among them, and their entries in the index are at most `most`
    /// together. Of other queries that is not known: `false`.
    pub fn is_short(&self, query: &dyn Query, most: u64) -> Result<bool> {
        let mut left = most;
        self.spend(query, &mut left).map_err(|e| self.failed(e))
    }

    /// Takes the entries of the query's words off `left`; `false` where that is not enough, or not known.
    fn spend(&self, query: &dyn Query, left: &mut u64) -> tantivy::Result<bool> {
        if query.is::<EmptyQuery>() {
            return Ok(true);
        }
        if let Some(word) = query.downcast_ref::<TermQuery>() {
            return self.spend_term(word.term(), left);
        }
        if let Some(filtered) = query.downcast_ref::<Conjunction>() {
            return self.spend_all(filtered.parts(), left);
        }
        let Some(all) = query.downcast_ref::<BooleanQuery>() else { return Ok(false) };
        self.spend_all(all.clauses().iter().map(|(_, part)| part.as_ref()), left)
    }

    fn spend_all<'a>(&self, parts: impl Iterator<Item = &'a dyn Query>, left: &mut u64) -> tantivy::Result<bool> {
        for part in parts {
            if !self.spend(part, left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn spend_term(&self, term: &Term, left: &mut u64) -> tantivy::Result<bool> {
        for reader in self.readers() {
            let entries = reader.inverted_index(term.field())?.doc_freq(term)?;
            match left.checked_sub(entries.into()) {
                Some(rest) => *left = rest,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::TableIndex;
    use super::super::conjunction::Conjunction;
    use super::super::testing::{batch, change, def, options, titled};
    use crate::query::parse;

    #[test]
    fn words_are_as_much_work_as_they_have_entries() {
        let dir = tempfile::tempdir().expect("a folder");
        let (index, _) = TableIndex::open_at(Arc::new(def()), options(dir.path()), None).expect("the index opens");
        let put = |n: usize| {
            let key = format!("k{n}");
            let title = if n < 30 { "oak desk" } else { "lamp" };
            change(&key, Some(titled(&def(), &key, title)), false)
        };
        index.submit(batch(0, 1, (0..20).map(put).collect())).expect("submitted");
        index.flush().expect("flushed");
        index.submit(batch(0, 2, (20..50).map(put).collect())).expect("submitted");
        index.flush().expect("flushed");
        let view = index.view();
        let least = |q: &str| {
            let query = parse::lenient(&view, q, &mut parse::Spent::default()).expect("a query").query;
            (0..1_000).find(|most| view.is_short(&*query, *most).expect("an answer"))
        };
        assert!(view.segments() > 1, "all in one segment");
        assert_eq!(least("title:oak"), Some(30));
        assert_eq!(least("title:chair"), Some(0));
        assert_eq!(least("title:oak OR title:lamp"), Some(50));
        assert_eq!(least("title:oak title:desk"), Some(60));
        let words = |q| parse::lenient(&view, q, &mut parse::Spent::default()).expect("a query").query;
        let filtered = Conjunction::new(words("title:oak"), vec![words("title:desk"), words("title:lamp")]);
        assert_eq!((0..1_000).find(|most| view.is_short(&filtered, *most).expect("an answer")), Some(80));
        let unknown = Conjunction::new(words("title:oak"), vec![words("title:la*")]);
        assert!(!view.is_short(&unknown, 1_000).expect("an answer"));
        // Not known without looking.
        for q in ["", "title:oa*", "title:\"oak desk\"", "title:oak~1", "title:oak OR title:la*"] {
            assert_eq!(least(q), None, "{q}");
        }
    }
}
