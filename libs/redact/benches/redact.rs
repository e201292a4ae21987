//! Speed of redaction: ordinary text, text full of secrets, hostile text, start-up.
//!
//! `cargo bench -p fleet-redact`. Each figure is the best of several runs; hostile inputs are
//! 1 MiB and 4 MiB, so that anything worse than linear shows as more than four times the time.

#![expect(clippy::print_stdout, reason = "a measurement, run by hand")]

use std::{hint::black_box, time::Instant};

use fleet_redact::redact;

const PROSE: &str = "The planner reads every story of the epic and writes a task for each \
acceptance criterion. Tokens are counted once per text; the key of the cache is the version of \
the story, and nothing passes a gate without a review. See https://docs.example.org/fleet for \
more, or ask the author of decision DEC-42 (commit 3f9d2c1b7a). Basic authentication is off.\n";

fn best(runs: usize, text: &str) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            black_box(redact(black_box(text)));
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min)
}

fn line(name: &str, text: &str, runs: usize) {
    let seconds = best(runs, text);
    println!(
        "{name:<34} {:>8} KiB {:>10.3} ms {:>8.1} MB/s",
        text.len() / 1024,
        seconds * 1e3,
        text.len() as f64 / seconds / 1e6
    );
}

fn main() {
    let start = Instant::now();
    black_box(redact("warm"));
    println!(
        "first call (builds the automaton)  {:>10.3} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    line(
        "prose 64 KiB",
        &PROSE.repeat((64 << 10) / PROSE.len() + 1),
        200,
    );
    line("prose 8 MiB", &PROSE.repeat((8 << 20) / PROSE.len()), 5);
    let code = include_str!("../src/keyword.rs");
    line(
        "this crate's own source",
        &code.repeat((1 << 20) / code.len() + 1),
        10,
    );
    let secrets = format!(
        "{PROSE}DB_PASSWORD=hunter2 \"apiKey\": \"k3y-{}\" \n",
        "x9".repeat(12)
    );
    line(
        "prose with secrets",
        &secrets.repeat((1 << 20) / secrets.len()),
        10,
    );
    for unit in HOSTILE {
        let name = format!(
            "hostile {}",
            unit.escape_debug().take(22).collect::<String>()
        );
        line(&name, &unit.repeat((1 << 20) / unit.len()), 2);
        line(
            "        … four times",
            &unit.repeat((4 << 20) / unit.len()),
            2,
        );
    }
}

const HOSTILE: &[&str] = &include!("../tests/corpus/hostile.in");
