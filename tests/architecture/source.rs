//! Rust sources as text that rules can look at: comments and literals blanked, test code taken out.

use std::collections::BTreeSet;
use std::path::Path;

/// One file of `src/`.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Path below `src/`, with `/`.
    pub(crate) path: String,
    /// Code without comments, literals' contents and test modules; lines are kept.
    pub(crate) code: String,
    /// As `code`, with the contents of string literals.
    pub(crate) with_strings: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text, true);
        let tests = test_items(&code);
        Self { path: path.to_owned(), with_strings: erase(&blank(text, false), &tests), code: erase(&code, &tests) }
    }

    /// The folder or file right below `src/` that it belongs to: `record` for `record/codec.rs`, `clock` for `clock.rs`.
    pub(crate) fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Names from the crate's root on: `["record", "codec"]`.
    pub(crate) fn module_path(&self) -> Vec<&str> {
        let stem = self.path.strip_suffix(".rs").unwrap_or(&self.path);
        stem.split('/').filter(|part| *part != "mod" && *part != "lib").collect()
    }

    /// Number of a byte's line, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.code[..at].bytes().filter(|b| *b == b'\n').count()
    }

    /// Lines that hold code other than tests.
    pub(crate) fn length(&self) -> usize {
        self.code.lines().count() - self.erased_lines()
    }

    fn erased_lines(&self) -> usize {
        self.code.bytes().filter(|b| *b == ERASED).count()
    }
}

/// Stands for a line of a test item in the code that rules see.
const ERASED: u8 = 0x1a;

/// Every file of `src/` that is not a test module.
pub(crate) fn tree(repository: &Path) -> Vec<Source> {
    let root = repository.join("src");
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    let tests: BTreeSet<String> = files.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let is_test = |path: &str| tests.iter().any(|t| path == format!("{t}.rs") || path.starts_with(&format!("{t}/")));
    let mut sources: Vec<Source> =
        files.iter().filter(|(path, _)| !is_test(path)).map(|(path, text)| Source::new(path, text)).collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(dir).expect("src can be listed") {
        let path = entry.expect("entry of src").path();
        if path.is_dir() {
            walk(root, &path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(root).expect("below src").to_string_lossy().replace('\\', "/");
            files.push((name, std::fs::read_to_string(&path).expect("source is text")));
        }
    }
}

/// Modules that `text` declares as `#[cfg(test)] mod name;`, as paths below `src/` without ending.
fn test_files(path: &str, text: &str) -> Vec<String> {
    let code = blank(text, true);
    let folder = match path.strip_suffix("/mod.rs") {
        Some(folder) => format!("{folder}/"),
        None if path == "lib.rs" || path == "main.rs" => String::new(),
        None => format!("{}/", path.trim_end_matches(".rs")),
    };
    let beside = path.rsplit_once('/').map(|(dir, _)| format!("{dir}/")).unwrap_or_default();
    let with_strings = blank(text, false);
    test_items(&code)
        .into_iter()
        .filter_map(|(from, to)| {
            let item = &code[from..to];
            let name = item.split("mod ").nth(1)?.strip_suffix(';')?.trim().to_owned();
            match with_strings[from..to].split("#[path = \"").nth(1) {
                Some(file) => Some(format!("{beside}{}", file.split(".rs\"").next()?)),
                None => Some(format!("{folder}{name}")),
            }
        })
        .collect()
}

/// Byte ranges of items under `#[cfg(test)]` (or a `cfg` that demands `test`), attribute included.
fn test_items(code: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test"].iter().filter_map(|a| code[from..].find(a)).min() {
        let start = from + at;
        let end = item_end(code, start);
        found.push((start, end));
        from = end;
    }
    found
}

/// Where the item that starts (with its attributes) at `start` ends: after `;` or the closing brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut braces = 0_i32;
    let mut brackets = 0_i32;
    for (i, b) in code.bytes().enumerate().skip(start) {
        match b {
            b'[' | b'(' => brackets += 1,
            b']' | b')' => brackets -= 1,
            b'{' => braces += 1,
            b'}' if braces <= 1 => return i + 1,
            b'}' => braces -= 1,
            b';' if braces == 0 && brackets == 0 => return i + 1,
            _ => {}
        }
    }
    code.len()
}

/// Takes ranges out, leaving a mark on each of their lines so that line numbers stay.
fn erase(code: &str, ranges: &[(usize, usize)]) -> String {
    let mut out = String::with_capacity(code.len());
    let mut at = 0;
    for (from, to) in ranges {
        out.push_str(&code[at..*from]);
        for line in code[*from..*to].split_inclusive('\n') {
            out.push(char::from(ERASED));
            if line.ends_with('\n') {
                out.push('\n');
            }
        }
        at = *to;
    }
    out.push_str(&code[at..]);
    out
}

/// Replaces comments, character literals and (if `strings`) string literals by blanks; newlines and lengths are kept.
fn blank(text: &str, strings: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let (end, wipe) = token(bytes, i, strings);
        for b in &bytes[i..end] {
            out.push(if wipe && *b != b'\n' { b' ' } else { *b });
        }
        i = end;
    }
    String::from_utf8(out).expect("blanking whole tokens leaves UTF-8")
}

/// End of the token at `i`, and whether it is to be blanked.
fn token(bytes: &[u8], i: usize, strings: bool) -> (usize, bool) {
    let rest = &bytes[i..];
    let in_word = i > 0 && (bytes[i - 1].is_ascii_alphanumeric() || bytes[i - 1] == b'_');
    if rest.starts_with(b"//") {
        return (i + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()), true);
    }
    if rest.starts_with(b"/*") {
        return (i + block_comment(rest), true);
    }
    if !in_word && let Some(length) = raw_string(rest) {
        return (i + length, strings);
    }
    match rest[0] {
        b'"' => (i + quoted(rest), strings),
        b'\'' => match character(rest) {
            Some(length) => (i + length, true),
            None => (i + 1, false), // a lifetime
        },
        _ => (i + 1, false),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut i = 0;
    while i < rest.len() {
        if rest[i..].starts_with(b"/*") {
            depth += 1;
            i += 2;
        } else if rest[i..].starts_with(b"*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    rest.len()
}

/// Length of a raw string (`r"…"`, `br#"…"#`) at the start.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let start = match rest {
        [b'r', ..] => 1,
        [b'b' | b'c', b'r', ..] => 2,
        _ => return None,
    };
    let hashes = rest[start..].iter().take_while(|b| **b == b'#').count();
    if rest.get(start + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = start + hashes + 1;
    let end = rest[body..].windows(close.len()).position(|w| w == close).unwrap_or(rest.len() - body - close.len());
    Some(body + end + close.len())
}

fn quoted(rest: &[u8]) -> usize {
    let mut i = 1;
    while i < rest.len() {
        match rest[i] {
            b'\\' => i += 2,
            b'"' => return i + 1,
            _ => i += 1,
        }
    }
    rest.len()
}

/// Length of a character literal at the start, `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|b| *b == b'\'').map(|n| n + 4);
    }
    let text = std::str::from_utf8(&rest[1..rest.len().min(6)])
        .unwrap_or_else(|e| std::str::from_utf8(&rest[1..1 + e.valid_up_to()]).unwrap_or_default());
    let width = text.chars().next()?.len_utf8();
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

#[test]
fn comments_and_literals_are_no_code() {
    let text = "let a = \"crate::x // \\\" \"; // crate::y\n/* crate::z /* */ */ let c = '\"'; let r = r#\"crate::\"q\"#; f::<'a>()";
    let source = Source::new("a.rs", text);
    assert!(!source.code.contains("crate"), "{}", source.code);
    assert!(source.code.contains("let c =") && source.code.contains("f::<'a>()"), "{}", source.code);
    assert!(source.with_strings.contains("crate::x") && !source.with_strings.contains("crate::y"));
    assert_eq!(source.code.len(), text.len());
}

#[test]
fn test_modules_are_left_out_and_lines_stay() {
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() { x.unwrap() }\n}\nfn c() {}\n";
    let source = Source::new("a.rs", text);
    assert!(!source.code.contains("unwrap") && source.code.contains("fn c"));
    assert_eq!((source.length(), source.line(source.code.find("fn c").expect("there"))), (2, 6));
    assert_eq!(test_files("store/mod.rs", "#[cfg(test)]\nmod tests;\n"), ["store/tests"]);
    assert_eq!(test_files("store/db.rs", "#[cfg(test)]\n#[path = \"db_tests.rs\"]\nmod tests;\n"), ["store/db_tests"]);
}
