//! What a person sees of the demo: a progress display on a terminal, plain lines when piped,
//! nothing but the summary with `--json`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Who is speaking in a line of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// The fleet itself.
    Fleet,
    /// The product owner.
    Po,
    /// A developer.
    Developer,
    /// An architect.
    Architect,
    /// A tester.
    Qa,
}

impl Voice {
    fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Po => "po",
            Self::Developer => "developer",
            Self::Architect => "architect",
            Self::Qa => "qa",
        }
    }

    fn style(self) -> Style {
        match self {
            Self::Fleet => Style::new().dim(),
            Self::Po => Style::new().magenta(),
            Self::Developer => Style::new().cyan(),
            Self::Architect => Style::new().yellow(),
            Self::Qa => Style::new().green(),
        }
    }
}

/// Tells what happens, as it happens.
pub struct Narrator {
    started: Instant,
    output: Output,
}

enum Output {
    Terminal(ProgressBar),
    Plain,
    Silent,
}

impl Narrator {
    /// Picks the way of telling; `steps` is how many [`Self::step`]s to expect.
    pub fn new(json: bool, steps: u64) -> Self {
        let output = if json {
            Output::Silent
        } else if std::io::stdout().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stdout());
            let style = ProgressStyle::with_template("{spinner} {bar:32} {pos}/{len} {msg}");
            bar.set_style(style.expect("the template is a constant"));
            bar.enable_steady_tick(Duration::from_millis(80));
            Output::Terminal(bar)
        } else {
            Output::Plain
        };
        Self {
            started: Instant::now(),
            output,
        }
    }

    /// Time since the demo began.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// A new part of the story begins.
    pub fn step(&self, title: &str) {
        if let Output::Terminal(bar) = &self.output {
            bar.inc(1);
            bar.set_message(title.to_owned());
        }
        self.line(
            &format!("\n{title}"),
            &format!("\n{}", Style::new().bold().apply_to(title)),
        );
    }

    /// Somebody did something.
    pub fn say(&self, voice: Voice, text: &str) {
        let at = self.elapsed().as_secs_f64();
        let who = voice.name();
        self.line(
            &format!("{at:7.3}s {who:>9}  {text}"),
            &format!(
                "{at:7.3}s {}  {text}",
                voice.style().apply_to(format!("{who:>9}"))
            ),
        );
    }

    /// Text as it is, e.g. a table.
    pub fn block(&self, text: &str) {
        self.line(text, text);
    }

    /// Ends the progress display; lines may still follow.
    pub fn finish(&self) {
        if let Output::Terminal(bar) = &self.output {
            bar.finish_and_clear();
        }
    }

    fn line(&self, plain: &str, coloured: &str) {
        match &self.output {
            Output::Terminal(bar) => bar.suspend(|| crate::out(coloured)),
            Output::Plain => crate::out(plain),
            Output::Silent => {}
        }
    }
}
