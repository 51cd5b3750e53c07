//! Reads the paths in Rust sources: enough of the language to find each one, and no more.

/// A word or a sign of the source text; `::` is one sign.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// A path as it is written, one for each leaf of a `use` group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// The module it stands in, counted from the crate's root.
    module: Vec<String>,
}

impl Written {
    /// The path counted from the crate's root, when it says where it starts.
    pub(crate) fn absolute(&self) -> Option<Vec<String>> {
        let mut at = match self.segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return None,
        };
        for segment in &self.segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    at.pop();
                }
                name => at.push(name.to_owned()),
            }
        }
        Some(at)
    }

    /// Whether it stands in a module of tests.
    pub(crate) fn is_in_tests(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }
}

/// Splits source text into tokens, without comments and without what literals hold.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        let first_line = line;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0_usize;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => i = end_of_string(&chars, i),
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            ':' if at(i + 1) == ':' => {
                i += 2;
                found.push(Token { text: "::".to_owned(), line });
            }
            c if is_word(c) => {
                while is_word(at(i)) {
                    i += 1;
                }
                let word: String = chars[start..i].iter().collect();
                let hashes = (i..chars.len()).take_while(|&j| at(j) == '#').count();
                let raw = matches!(word.as_str(), "r" | "br" | "cr");
                if raw && at(i + hashes) == '"' {
                    i = end_of_raw_string(&chars, i + hashes + 1, hashes);
                } else if !(raw && hashes == 1) {
                    found.push(Token { text: word, line });
                }
            }
            c if c.is_whitespace() => i += 1,
            c => {
                i += 1;
                found.push(Token { text: c.to_string(), line });
            }
        }
        let end = i.min(chars.len());
        line = first_line + chars[start..end].iter().filter(|&&c| c == '\n').count();
    }
    found
}

fn end_of_string(chars: &[char], open: usize) -> usize {
    let mut i = open + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

fn end_of_raw_string(chars: &[char], first: usize, hashes: usize) -> usize {
    let ends = |i: usize| {
        chars[i] == '"'
            && chars[i + 1..].iter().take(hashes).filter(|&&c| c == '#').count() == hashes
    };
    (first..chars.len()).find(|&i| ends(i)).map_or(chars.len(), |i| i + 1 + hashes)
}

/// All paths of at least two segments, and bare roots (`crate as …`), with their modules.
pub(crate) fn paths(tokens: &[Token], file_module: &[String]) -> Vec<Written> {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut module = file_module.to_vec();
    let mut opened = Vec::new();
    let mut depth = 0_usize;
    let mut found = Vec::new();
    // A group's own paths were read with it.
    let mut read_up_to = 0;
    for (i, token) in tokens.iter().enumerate() {
        if i < read_up_to {
            continue;
        }
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if opened.last() == Some(&depth) {
                    opened.pop();
                    module.pop();
                }
            }
            "mod" if text(i + 2) == "{" => {
                opened.push(depth);
                module.push(text(i + 1).to_owned());
            }
            _ => {}
        }
        let begins = i == 0 || text(i - 1) != "::";
        let renamed_root = token.text == "crate" && text(i + 1) == "as";
        if begins && (text(i + 1) == "::" && is_name(&token.text) || renamed_root) {
            let mut leaves = Vec::new();
            read_up_to = leaves_of(tokens, i, &[], &mut leaves);
            found.extend(leaves.into_iter().map(|segments| Written {
                segments,
                line: token.line,
                module: module.clone(),
            }));
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_')
}

/// Reads one path that begins at `i`, opens its groups, and returns where it ends.
fn leaves_of(
    tokens: &[Token],
    mut i: usize,
    before: &[String],
    out: &mut Vec<Vec<String>>,
) -> usize {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let mut segments = before.to_vec();
    loop {
        match text(i) {
            "{" => {
                i += 1;
                while !matches!(text(i), "}" | "") {
                    i = leaves_of(tokens, i, &segments, out);
                    while !matches!(text(i), "," | "}" | "") {
                        i += 1;
                    }
                    if text(i) == "," {
                        i += 1;
                    }
                }
                return i + 1;
            }
            name if is_name(name) || name == "*" => {
                segments.push(name.to_owned());
                i += 1;
            }
            _ => break,
        }
        if text(i) != "::" {
            break;
        }
        i += 1;
    }
    out.push(segments);
    i
}
