//! The Definition of Ready: a weighted checklist over the content of a story.
//!
//! | criterion             | weight | earned for |
//! |-----------------------|-------:|------------|
//! | `title`               | 10 | 10 with two words or more in at most 120 characters, otherwise 4 |
//! | `brief`               | 25 | 8 for *who* (`As a …`, `for the …`, `Who:`), 9 for *what* (`I want`, `we need`, `to be able to`, `must`, `should`, `What:`), 8 for *why* (`so that`, `because`, `in order to`, `Why:`) |
//! | `acceptance_criteria` | 30 | 20 for the first criterion of 10 characters or more, 30 for two of them |
//! | `constraints`         | 10 | 10 for one entry or more (an entry such as "none" says that they were considered) |
//! | `size`                | 15 | 15 when estimated, 5 for `XL`, which had better be split |
//! | `dependencies`        | 10 | 10 when a constraint says what the story depends on (or that it depends on nothing), or when repository and base branch are both named; 5 for the repository alone |
//!
//! The weights add up to 100. Without a usable acceptance criterion a story earns at most 70
//! and so never passes the default threshold of 80, however good the rest is.

use super::Size;

/// What a score must reach unless configured otherwise.
pub const DEFAULT_THRESHOLD: i32 = 80;

const MAX_TITLE: usize = 120;
const MIN_CRITERION: usize = 10;

/// What is judged: the content of a story.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Title.
    pub title: &'a str,
    /// Who wants what, and why.
    pub brief: &'a str,
    /// How one sees that it is done.
    pub acceptance_criteria: &'a [String],
    /// What the solution has to respect.
    pub constraints: &'a [String],
    /// The estimate, if there is one.
    pub size: Option<Size>,
    /// Where the work goes; empty if not known.
    pub repository: &'a str,
    /// Where it starts; empty if not known.
    pub base_branch: &'a str,
}

/// One criterion of the checklist, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criterion {
    /// Stable name, lower snake case.
    pub name: &'static str,
    /// The most it can earn.
    pub weight: i32,
    /// What it earned, 0 to `weight`.
    pub points: i32,
    /// Why, and what to do about it if it is not all.
    pub reason: String,
}

impl Criterion {
    /// Whether it earned all of its weight.
    pub fn met(&self) -> bool {
        self.points == self.weight
    }
}

/// The whole checklist, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Every criterion, in the order of the table above.
    pub criteria: Vec<Criterion>,
}

impl Readiness {
    /// Sum of the points, 0 to 100.
    pub fn score(&self) -> i32 {
        self.criteria.iter().map(|c| c.points).sum()
    }

    /// What did not earn all of its weight.
    pub fn missing(&self) -> impl Iterator<Item = &Criterion> {
        self.criteria.iter().filter(|c| !c.met())
    }
}

/// Judges a story's content.
pub fn assess(subject: Subject<'_>) -> Readiness {
    let criteria = vec![
        title(subject.title),
        brief(subject.brief),
        acceptance_criteria(subject.acceptance_criteria),
        constraints(subject.constraints),
        size(subject.size),
        dependencies(subject),
    ];
    Readiness { criteria }
}

fn criterion(name: &'static str, weight: i32, points: i32, reason: impl Into<String>) -> Criterion {
    Criterion {
        name,
        weight,
        points,
        reason: reason.into(),
    }
}

fn title(title: &str) -> Criterion {
    let words = title.split_whitespace().count();
    let length = title.chars().count();
    let (points, reason) = if length > MAX_TITLE {
        (
            4,
            format!("The title has {length} characters; say it in {MAX_TITLE}."),
        )
    } else if words < 2 {
        (
            4,
            "The title is a single word; say what changes.".to_owned(),
        )
    } else {
        (
            10,
            "The title says in one line what it is about.".to_owned(),
        )
    };
    criterion("title", 10, points, reason)
}

fn brief(brief: &str) -> Criterion {
    let text = normalised(brief);
    let says = |phrases: &[&str]| phrases.iter().any(|p| text.contains(p));
    let who = says(&[
        " as a ",
        " as an ",
        " as the ",
        " for the ",
        " for our ",
        " who: ",
    ]);
    let what = says(&[
        " i want ",
        " we want ",
        " i need ",
        " we need ",
        " to be able to ",
        " must ",
        " should ",
        " what: ",
    ]);
    let why = says(&[" so that ", " because ", " in order to ", " why: "]);
    let points = 8 * i32::from(who) + 9 * i32::from(what) + 8 * i32::from(why);
    let missing: Vec<&str> = [
        (who, "who wants it (\"As a …\")"),
        (what, "what is wanted (\"I want …\")"),
        (why, "why (\"so that …\")"),
    ]
    .into_iter()
    .filter_map(|(said, hint)| (!said).then_some(hint))
    .collect();
    let reason = if missing.is_empty() {
        "The brief says who wants what, and why.".to_owned()
    } else {
        format!("The brief does not say {}.", missing.join(", nor "))
    };
    criterion("brief", 25, points, reason)
}

fn acceptance_criteria(criteria: &[String]) -> Criterion {
    let usable = criteria
        .iter()
        .filter(|c| c.trim().chars().count() >= MIN_CRITERION)
        .count();
    let (points, reason) = match usable {
        0 => (
            0,
            "No acceptance criterion says how one sees that it is done.".to_owned(),
        ),
        1 => (
            20,
            "There is one acceptance criterion; add what else must hold.".to_owned(),
        ),
        n => (
            30,
            format!("{n} acceptance criteria say how one sees that it is done."),
        ),
    };
    criterion("acceptance_criteria", 30, points, reason)
}

fn constraints(constraints: &[String]) -> Criterion {
    let (points, reason) = if constraints.is_empty() {
        (
            0,
            "No constraints are named; write \"none\" if there are none.",
        )
    } else {
        (10, "Constraints were considered.")
    };
    criterion("constraints", 10, points, reason)
}

fn size(size: Option<Size>) -> Criterion {
    let (points, reason) = match size {
        None => (0, "Nobody has estimated the size.".to_owned()),
        Some(Size::Xl) => (5, "XL is too big for one story; split it.".to_owned()),
        Some(size) => (15, format!("The size is estimated: {size}.")),
    };
    criterion("size", 15, points, reason)
}

fn dependencies(subject: Subject<'_>) -> Criterion {
    const PHRASES: [&str; 6] = [
        " depends ",
        " depend ",
        " dependency ",
        " dependencies ",
        " requires ",
        " blocked by ",
    ];
    let spoken = subject.constraints.iter().any(|constraint| {
        let text = normalised(constraint);
        PHRASES.iter().any(|phrase| text.contains(phrase))
    });
    let repository = !subject.repository.is_empty();
    let (points, reason) = if spoken {
        (10, "A constraint says what the story depends on.")
    } else if repository && !subject.base_branch.is_empty() {
        (
            10,
            "Repository and base branch are known; no dependency is named.",
        )
    } else if repository {
        (
            5,
            "The repository is known; name the base branch, or a constraint on what it depends on.",
        )
    } else {
        (
            0,
            "Nothing says what it builds on: name repository and base branch, or a constraint such as \"depends on nothing\".",
        )
    };
    criterion("dependencies", 10, points, reason)
}

/// Lower case, one space between words and at both ends, punctuation (but `:`) as spaces, so
/// that a phrase can be looked for as whole words.
fn normalised(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(' ');
    for c in text.chars() {
        if c.is_alphanumeric() || c == ':' {
            out.extend(c.to_lowercase());
            if c == ':' {
                out.push(' ');
            }
        } else if !out.ends_with(' ') {
            out.push(' ');
        }
    }
    if !out.ends_with(' ') {
        out.push(' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("The page shows line {i}")).collect()
    }

    #[test]
    fn a_complete_story_earns_everything_and_says_why() {
        let criteria = lines(2);
        let constraints = ["depends on nothing".to_owned()];
        let readiness = assess(Subject {
            title: "Export invoices",
            brief: "As an accountant, I want to export invoices,\nso that the audit is quick.",
            acceptance_criteria: &criteria,
            constraints: &constraints,
            size: Some(Size::M),
            repository: "",
            base_branch: "",
        });
        assert_eq!(readiness.score(), 100, "{readiness:?}");
        assert_eq!(readiness.missing().count(), 0);
        let weights: i32 = readiness.criteria.iter().map(|c| c.weight).sum();
        assert_eq!(weights, 100);
    }

    #[test]
    fn without_acceptance_criteria_the_threshold_is_out_of_reach() {
        let constraints = ["depends on nothing".to_owned()];
        let short = ["works".to_owned()];
        for criteria in [&[][..], &short[..]] {
            let readiness = assess(Subject {
                title: "Export invoices",
                brief: "Who: accountants. What: an export. Why: audits.",
                acceptance_criteria: criteria,
                constraints: &constraints,
                size: Some(Size::S),
                repository: "git@example.org:shop.git",
                base_branch: "main",
            });
            assert_eq!(readiness.score(), 70);
            assert!(readiness.score() < DEFAULT_THRESHOLD);
            let missing: Vec<_> = readiness.missing().map(|c| c.name).collect();
            assert_eq!(missing, ["acceptance_criteria"]);
        }
    }

    #[test]
    fn a_poor_story_is_told_what_is_missing() {
        let readiness = assess(Subject {
            title: "Invoices",
            brief: "Exports.",
            acceptance_criteria: &[],
            constraints: &[],
            size: Some(Size::Xl),
            repository: "git@example.org:shop.git",
            base_branch: "",
        });
        assert_eq!(readiness.score(), 4 + 5 + 5);
        assert_eq!(readiness.missing().count(), 6);
        let brief = &readiness.criteria[1];
        assert_eq!(
            brief.reason,
            "The brief does not say who wants it (\"As a …\"), nor what is wanted (\"I want …\"), nor why (\"so that …\")."
        );
    }

    #[test]
    fn phrases_count_as_whole_words_only() {
        assert_eq!(brief("Canvas apparatus: musty shoulders").points, 0);
        assert_eq!(brief("as a user\ti want\nit, because…").points, 25);
    }
}
