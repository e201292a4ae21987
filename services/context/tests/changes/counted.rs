//! What a context's row counts of its decisions, by which readers tell whether they saw all of a
//! commit.

use fleet_proto::context::v1 as pb;
use serde_json::{Value, json};

use crate::ask::{apply, change, story};
use crate::world::{World, assert_in_step, on_every_backend};

on_every_backend!(the_count_of_decisions_is_right_after_any_changes);

/// Numbers that look random and are always the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

async fn the_count_of_decisions_is_right_after_any_changes(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let (store, mut client) = (replica.deps.store.clone(), replica.client.clone());
    let (mut numbers, mut done, mut refused) = (Numbers(7), 0, 0);
    for round in 0..60 {
        match numbers.below(6) {
            0 => {
                let decision = pb::AddProjectDecisionRequest {
                    story_id: story_id.clone(),
                    decision_type: "TECHNICAL".into(),
                    title: format!("Decided in round {round}"),
                    rationale: "Because.".into(),
                    ..Default::default()
                };
                client.add_project_decision(decision).await.unwrap();
            }
            _ => {
                let changes = 1 + numbers.below(4);
                let changes: Vec<_> = (0..changes)
                    .map(|n| {
                        let operation = ["CREATE", "UPDATE", "UPSERT", "DELETE"];
                        let operation = operation[usize::try_from(numbers.below(4)).unwrap()];
                        // One change for each id at most; later rounds meet the same ids.
                        let id = format!("DEC-{story_id}-{}", 4 * numbers.below(4) + n);
                        let payload = match operation {
                            "DELETE" => Value::Null,
                            _ => json!({"title": format!("As of round {round}")}),
                        };
                        change(operation, "DECISION", &id, &payload)
                    })
                    .collect();
                match apply(&client, &story_id, changes).await {
                    Ok(_) => done += 1,
                    // What is there is not created, what is not there is not changed.
                    Err(_) => refused += 1,
                }
            }
        }
        assert_in_step(&*store, &story_id).await;
    }
    assert!(done > 5 && refused > 5, "{done} done, {refused} refused");
    replica.stop().await;
}
