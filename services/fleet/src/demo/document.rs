//! A story as people write it: Markdown with YAML front matter. Strict, because a misspelt
//! key that is silently ignored costs more than a refusal that names the line.
//!
//! The format is described in `docs/story-format.md`; examples are under `examples/stories/`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
use serde::Deserialize;
use serde_saphyr::Spanned;

/// Largest story document, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// Most tasks of one story document.
pub const MAX_TASKS: usize = 40;

/// A story document, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Name of the project.
    pub project: String,
    /// Title of the epic.
    pub epic: String,
    /// Title of the story.
    pub story: String,
    /// Who, what and why: the text before the first heading.
    pub brief: String,
    /// XS, S, M, L or XL; empty if not given.
    pub size: String,
    /// Where the code lives; may be empty.
    pub repository: String,
    /// The branch to start from; may be empty.
    pub base_branch: String,
    /// The product owner's name.
    pub owner: String,
    /// How one sees that it is done.
    pub acceptance_criteria: Vec<String>,
    /// What must not be broken on the way.
    pub constraints: Vec<String>,
    /// The tasks, every one after those that it depends on.
    pub tasks: Vec<TaskSpec>,
}

/// A task of a story document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Its name within the document.
    pub name: String,
    /// Its title.
    pub title: String,
    /// Its description; may be empty.
    pub description: String,
    /// Its type, as planning knows them; empty for the default.
    pub kind: String,
    /// 1 = highest.
    pub priority: i32,
    /// Estimated hours; 0 if unknown.
    pub estimated_hours: i32,
    /// Names of the tasks it waits for.
    pub depends_on: Vec<String>,
    /// How one sees that it is done.
    pub acceptance_criteria: Vec<String>,
}

/// Why a document was refused: where, what, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}: {problem}\n  cure: {cure}", path.display())]
pub struct Refusal {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub cure: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FrontMatter {
    project: Spanned<String>,
    epic: Spanned<String>,
    story: Spanned<String>,
    #[serde(default)]
    size: Option<Spanned<String>>,
    #[serde(default)]
    repository: String,
    #[serde(default)]
    base_branch: String,
    #[serde(default)]
    owner: String,
    tasks: Spanned<Vec<Spanned<RawTask>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTask {
    id: Spanned<String>,
    title: Spanned<String>,
    #[serde(default)]
    description: String,
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default = "one")]
    priority: Spanned<i32>,
    #[serde(default)]
    estimated_hours: i32,
    #[serde(default)]
    depends_on: Vec<Spanned<String>>,
    #[serde(default)]
    acceptance_criteria: Vec<String>,
}

fn one() -> Spanned<i32> {
    Spanned::new(
        1,
        serde_saphyr::Location::UNKNOWN,
        serde_saphyr::Location::UNKNOWN,
    )
}

/// Reads the document at `path`.
pub fn read(path: &Path) -> Result<Document, Refusal> {
    let refuse = |problem: String, cure: &str| Refusal {
        path: path.to_owned(),
        line: 1,
        problem,
        cure: cure.to_owned(),
    };
    let bytes = std::fs::read(path).map_err(|e| {
        refuse(
            format!("cannot be read: {e}"),
            "check the path and its permissions",
        )
    })?;
    if bytes.len() > MAX_BYTES {
        return Err(refuse(
            format!("is {} bytes long; at most {MAX_BYTES}", bytes.len()),
            "split it into several stories",
        ));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| refuse("is not UTF-8 text".to_owned(), "save it as UTF-8 Markdown"))?;
    parse(path, &text)
}

/// Parses a document; `path` is for messages only.
pub fn parse(path: &Path, text: &str) -> Result<Document, Refusal> {
    Reader { path }.document(text)
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn refuse(&self, line: u64, problem: impl Into<String>, cure: impl Into<String>) -> Refusal {
        Refusal {
            path: self.path.to_owned(),
            line: line.max(1),
            problem: problem.into(),
            cure: cure.into(),
        }
    }

    fn document(&self, text: &str) -> Result<Document, Refusal> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (yaml, body, body_line) = self.split(text)?;
        // The front matter starts on line 2, behind its opening `---`.
        let front: FrontMatter = serde_saphyr::from_str(&yaml).map_err(|error| {
            let line = error.location().map_or(1, |at| at.line());
            let problem = error.without_snippet().to_string();
            self.refuse(
                line,
                format!("front matter: {problem}"),
                "see docs/story-format.md for the keys",
            )
        })?;
        let body = self.body(body, body_line)?;
        for (field, value) in [
            ("project", &front.project),
            ("epic", &front.epic),
            ("story", &front.story),
        ] {
            if value.value.trim().is_empty() {
                return Err(self.refuse(
                    value.defined.line(),
                    format!("{field} is blank"),
                    format!("give the {field} a name"),
                ));
            }
        }
        let size = match &front.size {
            Some(size) if !["XS", "S", "M", "L", "XL"].contains(&size.value.as_str()) => {
                return Err(self.refuse(
                    size.defined.line(),
                    format!("size {:?} is unknown", size.value),
                    "use XS, S, M, L or XL",
                ));
            }
            Some(size) => size.value.clone(),
            None => String::new(),
        };
        let tasks = self.tasks(&front.tasks)?;
        Ok(Document {
            project: front.project.value,
            epic: front.epic.value,
            story: front.story.value,
            brief: body.brief,
            size,
            repository: front.repository,
            base_branch: front.base_branch,
            owner: if front.owner.trim().is_empty() {
                "po".to_owned()
            } else {
                front.owner
            },
            acceptance_criteria: body.acceptance_criteria,
            constraints: body.constraints,
            tasks,
        })
    }

    /// Splits front matter and body. The YAML keeps one blank line in front, so that the
    /// parser's line numbers are those of the file.
    fn split<'t>(&self, text: &'t str) -> Result<(String, &'t str, u64), Refusal> {
        let first_end = text.find('\n').unwrap_or(text.len());
        if text[..first_end].trim_end() != "---" {
            return Err(self.refuse(
                1,
                "has no front matter",
                "start the file with a line ---, the YAML keys, and another line ---",
            ));
        }
        let mut at = first_end + 1;
        let mut line = 2;
        while at < text.len() {
            let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
            if text[at..end].trim_end() == "---" {
                let body = text.get(end + 1..).unwrap_or("");
                return Ok((format!("\n{}", &text[first_end + 1..at]), body, line + 1));
            }
            at = end + 1;
            line += 1;
        }
        Err(self.refuse(
            1,
            "the front matter does not end",
            "close it with a line ---",
        ))
    }

    fn body(&self, body: &str, first_line: u64) -> Result<Body, Refusal> {
        let line_of = |offset: usize| {
            first_line + body[..offset].bytes().filter(|b| *b == b'\n').count() as u64
        };
        let mut found = Body::default();
        let mut section = Section::Brief;
        let mut heading: Option<(usize, String)> = None;
        let mut item: Option<String> = None;
        let mut brief_end = None;
        for (event, range) in Parser::new(body).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    if level != HeadingLevel::H2 {
                        return Err(self.refuse(
                            line_of(range.start),
                            format!("a heading of level {level}"),
                            "use ## Acceptance criteria and ## Constraints only; the title is the key story",
                        ));
                    }
                    brief_end.get_or_insert(range.start);
                    heading = Some((range.start, String::new()));
                }
                Event::End(TagEnd::Heading(_)) => {
                    if let Some((at, title)) = heading.take() {
                        section = match title.trim().to_ascii_lowercase().as_str() {
                            "acceptance criteria" => Section::Criteria,
                            "constraints" => Section::Constraints,
                            _ => {
                                return Err(self.refuse(
                                    line_of(at),
                                    format!("the section {:?} is unknown", title.trim()),
                                    "use ## Acceptance criteria and ## Constraints; put the rest into the text above them",
                                ));
                            }
                        };
                    }
                }
                Event::Start(Tag::Item) if section != Section::Brief => item = Some(String::new()),
                Event::End(TagEnd::Item) if section != Section::Brief => {
                    let text = item.take().unwrap_or_default().trim().to_owned();
                    if text.is_empty() {
                        return Err(self.refuse(
                            line_of(range.start),
                            "an empty list item",
                            "write what must hold, or delete the line",
                        ));
                    }
                    match section {
                        Section::Criteria => found.acceptance_criteria.push(text),
                        Section::Constraints => found.constraints.push(text),
                        Section::Brief => {}
                    }
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some((_, title)) = &mut heading {
                        title.push_str(&text);
                    } else if let Some(item) = &mut item {
                        item.push_str(&text);
                    } else if section != Section::Brief && !text.trim().is_empty() {
                        return Err(self.refuse(
                            line_of(range.start),
                            "text outside a list in this section",
                            "write each entry as a list item: - …",
                        ));
                    }
                }
                Event::SoftBreak | Event::HardBreak => {
                    if let Some(item) = &mut item {
                        item.push(' ');
                    }
                }
                _ => {}
            }
        }
        found.brief = body[..brief_end.unwrap_or(body.len())].trim().to_owned();
        if found.brief.is_empty() {
            return Err(self.refuse(
                first_line,
                "the story has no text",
                "say below the front matter who wants what, and why: As a … I want … so that …",
            ));
        }
        if found.acceptance_criteria.is_empty() {
            return Err(self.refuse(
                line_of(body.len()),
                "the story has no acceptance criteria, so it can never be ready",
                "add a section ## Acceptance criteria with a list",
            ));
        }
        Ok(found)
    }

    fn tasks(&self, raw: &Spanned<Vec<Spanned<RawTask>>>) -> Result<Vec<TaskSpec>, Refusal> {
        if raw.value.is_empty() || raw.value.len() > MAX_TASKS {
            return Err(self.refuse(
                raw.defined.line(),
                format!("the story has {} tasks", raw.value.len()),
                format!("give it 1 to {MAX_TASKS}"),
            ));
        }
        let mut lines = BTreeMap::new();
        for task in &raw.value {
            let name = &task.value.id;
            let grammatical = !name.value.is_empty()
                && name.value.len() <= 60
                && name
                    .value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
            if !grammatical {
                return Err(self.refuse(
                    name.defined.line(),
                    format!("{:?} is not a task id", name.value),
                    "use 1 to 60 of A-Z a-z 0-9 . _ -",
                ));
            }
            if let Some(first) = lines.insert(name.value.clone(), name.defined.line()) {
                return Err(self.refuse(
                    name.defined.line(),
                    format!("the task id {:?} was used on line {first}", name.value),
                    "give every task its own id",
                ));
            }
            if task.value.title.value.trim().is_empty() {
                return Err(self.refuse(
                    task.value.title.defined.line(),
                    format!("task {:?} has a blank title", name.value),
                    "say in a few words what is to be done",
                ));
            }
            if task.value.priority.value < 1 {
                return Err(self.refuse(
                    task.value.priority.defined.line(),
                    format!(
                        "priority {} of task {:?}",
                        task.value.priority.value, name.value
                    ),
                    "use 1 for the highest, larger numbers for lower ones",
                ));
            }
        }
        for task in &raw.value {
            for dependency in &task.value.depends_on {
                if !lines.contains_key(&dependency.value) {
                    return Err(self.refuse(
                        dependency.defined.line(),
                        format!(
                            "task {:?} depends on {:?}, which is not there",
                            task.value.id.value, dependency.value
                        ),
                        format!(
                            "use one of: {}",
                            lines.keys().cloned().collect::<Vec<_>>().join(", ")
                        ),
                    ));
                }
            }
        }
        self.in_order(&raw.value, &lines)
    }

    /// Every task after those that it depends on; the document's order otherwise.
    fn in_order(
        &self,
        raw: &[Spanned<RawTask>],
        lines: &BTreeMap<String, u64>,
    ) -> Result<Vec<TaskSpec>, Refusal> {
        let mut placed = BTreeSet::new();
        let mut ordered = Vec::with_capacity(raw.len());
        while ordered.len() < raw.len() {
            let before = ordered.len();
            for task in raw {
                let task = &task.value;
                let free = task
                    .depends_on
                    .iter()
                    .all(|d| placed.contains(d.value.as_str()));
                if free && placed.insert(task.id.value.as_str()) {
                    ordered.push(spec(task));
                }
            }
            if ordered.len() == before {
                let stuck: Vec<_> = lines
                    .keys()
                    .filter(|name| !placed.contains(name.as_str()))
                    .cloned()
                    .collect();
                return Err(self.refuse(
                    stuck
                        .first()
                        .and_then(|name| lines.get(name))
                        .copied()
                        .unwrap_or(1),
                    format!("the tasks {} wait for each other", stuck.join(", ")),
                    "remove one depends_on of the circle",
                ));
            }
        }
        Ok(ordered)
    }
}

fn spec(task: &RawTask) -> TaskSpec {
    TaskSpec {
        name: task.id.value.clone(),
        title: task.title.value.clone(),
        description: task.description.clone(),
        kind: task.kind.clone(),
        priority: task.priority.value,
        estimated_hours: task.estimated_hours,
        depends_on: task.depends_on.iter().map(|d| d.value.clone()).collect(),
        acceptance_criteria: task.acceptance_criteria.clone(),
    }
}

#[derive(Debug, Default)]
struct Body {
    brief: String,
    acceptance_criteria: Vec<String>,
    constraints: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    Brief,
    Criteria,
    Constraints,
}

#[cfg(test)]
mod tests;
