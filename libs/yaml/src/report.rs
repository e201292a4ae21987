//! What is wrong with a file: every violation with its line.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The line it is about, from 1.
    pub line: u64,
    /// What is wrong, with the offending path where there is one.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Everything that is wrong with one file, in order of lines. Printed as the file's name and
/// one line for each violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file, as the caller named it.
    pub file: String,
    /// What is wrong with it; at least one.
    pub violations: Vec<Violation>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.violations.len();
        let noun = if n == 1 { "violation" } else { "violations" };
        write!(f, "{}: {n} {noun}", self.file)?;
        for violation in &self.violations {
            write!(f, "\n  {violation}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Violations while they are collected.
#[derive(Debug, Default)]
pub struct Findings(Vec<Violation>);

impl Findings {
    /// One more; `line` from 1.
    pub fn add(&mut self, line: u64, message: impl Into<String>) {
        self.0.push(Violation {
            line,
            message: message.into(),
        });
    }

    /// Whether nothing was found so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The report about `file`, or nothing if all is well. Sorted by line; said once each.
    ///
    /// # Errors
    /// The report, if there is anything to say.
    pub fn into_report(mut self, file: &str) -> Result<(), Report> {
        self.0.sort();
        self.0.dedup();
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Report {
                file: file.to_owned(),
                violations: self.0,
            })
        }
    }
}
