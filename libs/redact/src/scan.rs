//! The walk over a text: anchors in, edits out.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};

use crate::{
    Kind, auth, bytes, cookie, keyword, pem,
    tokens::{self, TOKENS},
    url,
};

/// Text from `start` to `end` is replaced by the placeholder of `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) kind: Kind,
    /// The placeholder gets quotes: it stands for a bare number in JSON.
    pub(crate) quoted: bool,
}

/// One rule beside the table of tokens: what it is called for and the function that looks.
struct Rule {
    anchors: &'static [&'static str],
    look: fn(&mut Scan<'_>, usize) -> Option<usize>,
}

/// The rules that need more than a prefix and a class of characters. Anchors match whatever
/// the case. A rule returns where the walk goes on when it decided anything.
static RULES: &[Rule] = &[
    // What we put in ourselves is left alone.
    Rule {
        anchors: &["[redacted"],
        look: |scan, at| bytes::placeholder(scan.text, at).map(|len| at + len),
    },
    // Names of resources hold words such as "secret" between colons.
    Rule {
        anchors: &["arn:aws"],
        look: |scan, at| {
            let name = |b| bytes::is_name(b) || matches!(b, b':' | b'/');
            Some(bytes::run(scan.text, at, name))
        },
    },
    // Credentials before an "@" in a URL.
    Rule {
        anchors: &["://"],
        look: url::userinfo,
    },
    // Signatures that let whoever holds the URL in: `sig=`, `X-Amz-Signature=`.
    Rule {
        anchors: &["sig=", "signature="],
        look: url::signature,
    },
    // `-u user:password` of curl.
    Rule {
        anchors: &["-u ", "--user ", "--proxy-user "],
        look: url::user_option,
    },
    // PEM blocks, also of five dashes or four (SSH2), also cut short.
    Rule {
        anchors: &["---- begin ", "-----begin "],
        look: pem::block,
    },
    // The end of a PEM block of which the beginning is not in the text.
    Rule {
        anchors: &["-----end "],
        look: pem::tail,
    },
    // `Authorization:` with any scheme.
    Rule {
        anchors: &["authorization"],
        look: auth::header,
    },
    // `Bearer` and `Basic` without the header.
    Rule {
        anchors: &["bearer", "basic"],
        look: auth::scheme,
    },
    // JSON web tokens.
    Rule {
        anchors: &["eyj"],
        look: auth::jwt,
    },
    // `Cookie:` and `Set-Cookie:`.
    Rule {
        anchors: &["cookie"],
        look: cookie::header,
    },
    // Names that call their value a secret.
    Rule {
        anchors: keyword::ANCHORS,
        look: keyword::named,
    },
];

/// What an anchor of the automaton belongs to.
#[derive(Clone, Copy)]
enum Target {
    Rule(usize),
    Token(usize),
}

struct Anchors {
    automaton: AhoCorasick,
    /// By first byte (lower case): which rules may begin there, with their anchors.
    by_byte: Vec<Vec<(&'static str, Target)>>,
}

static ANCHORS: LazyLock<Anchors> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (index, rule) in RULES.iter().enumerate() {
        all.extend(
            rule.anchors
                .iter()
                .map(|anchor| (*anchor, Target::Rule(index))),
        );
    }
    for (index, token) in TOKENS.iter().enumerate() {
        all.push((token.prefix, Target::Token(index)));
    }
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::LeftmostFirst)
        .kind(Some(AhoCorasickKind::DFA))
        .build(all.iter().map(|(anchor, _)| anchor))
        .expect("the anchors are few and short");
    let mut by_byte = vec![Vec::new(); 256];
    for (anchor, target) in all {
        by_byte[usize::from(anchor.as_bytes()[0].to_ascii_lowercase())].push((anchor, target));
    }
    Anchors { automaton, by_byte }
});

/// One pass over a text: what was found, and what need not be looked at again.
pub(crate) struct Scan<'a> {
    pub(crate) text: &'a [u8],
    edits: Vec<Edit>,
    /// End of the last name looked at as a keyword: its other anchors say nothing new.
    pub(crate) named_until: usize,
    /// Where the last pair of the last list of cookies begins: what precedes it was looked at.
    pub(crate) cookies_until: usize,
    /// The last run looked at as the name of a cookie, and the last as the value of one.
    pub(crate) cookie_name: Run,
    pub(crate) cookie_value: Run,
    /// The last run looked at as the text of an element.
    pub(crate) element: Run,
    /// No JSON web token begins before this.
    pub(crate) no_jwt_until: usize,
}

/// The last run of bytes of a class: who begins inside of it need not look for its end again.
#[derive(Default)]
pub(crate) struct Run {
    start: usize,
    end: usize,
}

impl Run {
    /// As [`bytes::run`], for one class throughout.
    pub(crate) fn end(&mut self, text: &[u8], from: usize, class: impl Fn(u8) -> bool) -> usize {
        if !(self.start..self.end).contains(&from) {
            self.start = from;
            self.end = bytes::run(text, from, class);
        }
        self.end
    }
}

impl Scan<'_> {
    /// Replaces a stretch; an empty one, one that is placeholders already and one that
    /// overlaps the last are left.
    pub(crate) fn cut(&mut self, start: usize, end: usize, kind: Kind) {
        self.push(start, end, kind, false);
    }

    /// As [`Scan::cut`], and the placeholder gets quotes.
    pub(crate) fn cut_bare(&mut self, start: usize, end: usize, kind: Kind) {
        self.push(start, end, kind, true);
    }

    fn push(&mut self, start: usize, end: usize, kind: Kind, quoted: bool) {
        let free = self.edits.last().is_none_or(|last| last.end <= start);
        if start < end && free && !bytes::only_placeholders(&self.text[start..end]) {
            self.edits.push(Edit {
                start,
                end,
                kind,
                quoted,
            });
        }
    }

    /// End of the last stretch cut out: nothing before it is looked at again.
    pub(crate) fn cut_until(&self) -> usize {
        self.edits.last().map_or(0, |edit| edit.end)
    }
}

/// The edits of one pass, in the order of the text, without overlaps.
pub(crate) fn edits(text: &str) -> Vec<Edit> {
    let anchors = &*ANCHORS;
    let mut scan = Scan {
        text: text.as_bytes(),
        edits: Vec::new(),
        named_until: 0,
        cookies_until: 0,
        cookie_name: Run::default(),
        cookie_value: Run::default(),
        element: Run::default(),
        no_jwt_until: 0,
    };
    let mut at = 0;
    while at < text.len() {
        let Some(found) = anchors.automaton.find(Input::new(text).range(at..)) else {
            break;
        };
        at = look(anchors, &mut scan, found.start()).max(found.start() + 1);
    }
    scan.edits
}

fn look(anchors: &Anchors, scan: &mut Scan<'_>, at: usize) -> usize {
    let first = scan.text[at].to_ascii_lowercase();
    for (anchor, target) in &anchors.by_byte[usize::from(first)] {
        if !bytes::has_at(scan.text, at, anchor.as_bytes()) {
            continue;
        }
        let next = match *target {
            Target::Rule(index) => (RULES[index].look)(scan, at),
            Target::Token(index) => tokens::look(scan, at, &TOKENS[index]),
        };
        if let Some(next) = next {
            return next;
        }
    }
    0
}

/// The text with its edits made.
pub(crate) fn apply(text: &str, edits: &[Edit]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        out.push_str(&text[at..edit.start]);
        if edit.quoted {
            out.push('"');
        }
        out.push_str(edit.kind.placeholder());
        if edit.quoted {
            out.push('"');
        }
        at = edit.end;
    }
    out.push_str(&text[at..]);
    out
}
