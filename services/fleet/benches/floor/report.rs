//! Times, medians and the table.

use std::time::Duration;

/// The value at a share of the sorted samples; 0.5 = the median.
pub fn quantile(times: &[Duration], share: f64) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into a few thousand samples"
    )]
    let at = ((sorted.len().max(1) - 1) as f64 * share) as usize;
    sorted.get(at).copied().unwrap_or_default()
}

/// The median of the medians of several turns.
pub fn median_of(turns: &[Vec<Duration>]) -> Duration {
    let medians: Vec<_> = turns.iter().map(|turn| quantile(turn, 0.5)).collect();
    quantile(&medians, 0.5)
}

/// A duration with three digits.
pub fn short(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    if micros >= 99_950.0 {
        format!("{:.0} ms", micros / 1e3)
    } else if micros >= 9_995.0 {
        format!("{:.1} ms", micros / 1e3)
    } else if micros >= 999.5 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{micros:.0} µs")
    }
}

/// The rows of the table.
#[derive(Default)]
pub struct Report {
    rows: Vec<[String; 6]>,
    skipped: Vec<String>,
}

impl Report {
    /// A time beside its floor, with the most that their ratio may be.
    pub fn ratio(
        &mut self,
        what: &str,
        product: &[Vec<Duration>],
        floor: &[Vec<Duration>],
        goal: f64,
    ) {
        let (ours, least) = (median_of(product), median_of(floor));
        let ratio = ours.as_secs_f64() / least.as_secs_f64();
        let pairs = product
            .iter()
            .zip(floor)
            .map(|(p, f)| quantile(p, 0.5).as_secs_f64() / quantile(f, 0.5).as_secs_f64());
        let mut pairs: Vec<f64> = pairs.collect();
        pairs.sort_by(f64::total_cmp);
        let span = format!(
            "{ratio:.2} ({:.2}–{:.2})",
            pairs.first().copied().unwrap_or(ratio),
            pairs.last().copied().unwrap_or(ratio)
        );
        let met = ratio <= goal;
        self.row([
            what.into(),
            short(ours),
            short(least),
            span,
            format!("≤ {goal}"),
            verdict(met),
        ]);
    }

    /// A number with its goal.
    pub fn number(&mut self, what: &str, value: String, floor: String, goal: String, met: bool) {
        self.row([what.into(), value, floor, String::new(), goal, verdict(met)]);
    }

    /// A number without a goal.
    pub fn note(&mut self, what: &str, value: String) {
        self.row([
            what.into(),
            value,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }

    /// What was not measured, and why.
    pub fn skip(&mut self, what: &str, why: &str) {
        println!("not measured: {what} ({why})");
        self.skipped.push(format!("not measured: {what} ({why})"));
    }

    fn row(&mut self, row: [String; 6]) {
        println!(
            "… {}: {}",
            row[0],
            [&row[1], &row[2], &row[3]].map(String::as_str).join("  ")
        );
        self.rows.push(row);
    }

    /// Prints the table.
    pub fn print(&self) {
        let head = ["", "product", "floor", "ratio (of turns)", "goal", ""].map(str::to_owned);
        let all: Vec<_> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| {
            all.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or_default()
        };
        let widths: Vec<usize> = (0..6).map(width).collect();
        println!();
        for row in all {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
                .collect();
            println!("{}", cells.join("  ").trim_end());
        }
        for skipped in &self.skipped {
            println!("{skipped}");
        }
    }
}

fn verdict(met: bool) -> String {
    if met { "met" } else { "MISSED" }.to_owned()
}
