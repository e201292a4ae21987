//! `fleet fsm`: proves a task state machine sound, or draws it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use fleet_workflow::fsm::{self, Format};

/// What to do with a machine.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prove it sound: exit code 0, or every violation with line and offending path.
    Check {
        /// The YAML file.
        file: PathBuf,
    },
    /// Draw it.
    Graph {
        /// The YAML file.
        file: PathBuf,
        /// In which language.
        #[arg(long, value_enum, default_value_t = Language::Mermaid)]
        format: Language,
    },
}

/// A language for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Mermaid, for Markdown.
    Mermaid,
    /// DOT, for Graphviz.
    Dot,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or its machine is not sound.
pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Check { file } => {
            let machine = load(file)?;
            crate::out(&format!(
                "{}: sound; {}",
                file.display(),
                format_args!(
                    "{} states, {} transitions",
                    machine.states().count(),
                    machine.rules().len()
                )
            ));
        }
        Command::Graph { file, format } => {
            let format = match format {
                Language::Mermaid => Format::Mermaid,
                Language::Dot => Format::Dot,
            };
            crate::out(fsm::graph(&load(file)?, format).trim_end());
        }
    }
    Ok(())
}

fn load(file: &Path) -> anyhow::Result<fsm::Machine> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{} cannot be read", file.display()))?;
    fsm::check(&text, &file.display().to_string()).map_err(|report| anyhow::anyhow!("{report}"))
}
