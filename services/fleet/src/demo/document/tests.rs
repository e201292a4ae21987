use super::*;

const GOOD: &str = include_str!("../../../../../examples/stories/guest-checkout.md");

#[test]
fn the_examples_read_as_written() {
    let document = parse(Path::new("guest-checkout.md"), GOOD).unwrap();
    assert_eq!(document.acceptance_criteria.len(), 4);
    assert_eq!(document.constraints.len(), 2);
    assert_eq!(
        document
            .tasks
            .iter()
            .map(|t| t.name.as_str())
            .collect::<Vec<_>>(),
        ["order-api", "guest-form", "confirm-mail", "journey-test"]
    );
    assert!(document.brief.starts_with("As a guest"));
    let small = include_str!("../../../../../examples/stories/health-endpoint.md");
    assert_eq!(parse(Path::new("h.md"), small).unwrap().tasks.len(), 1);
}

#[test]
fn a_bad_document_is_refused_with_file_line_and_cure() {
    let cases: &[(&str, &str)] = &[
        ("no front matter", "# Story\n"),
        ("front matter without end", "---\nproject: a\n"),
        ("not a mapping", "---\n- a\n---\ntext\n"),
        ("unknown key", &GOOD.replace("size: M", "sizes: M")),
        ("unknown size", &GOOD.replace("size: M", "size: huge")),
        (
            "blank project",
            &GOOD.replace("project: Web shop", "project: ' '"),
        ),
        ("missing epic", &GOOD.replace("epic: Checkout\n", "")),
        (
            "unknown dependency",
            &GOOD.replace("[guest-form, confirm-mail]", "[guest-from]"),
        ),
        (
            "circle",
            &GOOD.replace(
                "title: Accept",
                "depends_on: [journey-test]\n    title: Accept",
            ),
        ),
        (
            "twice the same id",
            &GOOD.replace("id: confirm-mail", "id: guest-form"),
        ),
        ("bad id", &GOOD.replace("id: order-api", "id: order api")),
        ("priority 0", &GOOD.replace("priority: 3", "priority: 0")),
        (
            "unknown section",
            &GOOD.replace("## Constraints", "## Limits"),
        ),
        (
            "heading 1",
            &GOOD.replace("## Constraints", "# Constraints"),
        ),
        (
            "prose in a list section",
            &GOOD.replace("- The payment", "\nThe payment"),
        ),
        (
            "empty item",
            &GOOD.replace("- The payment provider stays the same", "-"),
        ),
        (
            "no acceptance criteria",
            &GOOD.replace("## Acceptance criteria", "## Constraints"),
        ),
        (
            "no tasks",
            "---\nproject: a\nepic: b\nstory: c\ntasks: []\n---\ntext\n\n## Acceptance criteria\n- x\n",
        ),
        (
            "no text",
            &GOOD.replace(&parse(Path::new("x"), GOOD).unwrap().brief, ""),
        ),
    ];
    let said: Vec<String> = cases
        .iter()
        .map(|(name, text)| match parse(Path::new("story.md"), text) {
            Ok(_) => format!("{name}: ACCEPTED"),
            Err(refusal) => format!("{name}: {refusal}"),
        })
        .collect();
    insta::assert_snapshot!(said.join("\n"));
}
