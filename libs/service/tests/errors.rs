//! What a caller sees of a failure: code, reason, details, bounded sizes; and the document
//! that explains every reason.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use fleet_graph::{CommitError, Deadline, Label, NodeKey, ReadError, Unavailable};
use fleet_service::{Call, DOMAIN, Fault, Reason};
use fleet_types::Violations;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const DOCUMENT: &str = include_str!("../../../docs/errors.md");

fn code_name(code: Code) -> &'static str {
    match code {
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::Unauthenticated => "UNAUTHENTICATED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::Unavailable => "UNAVAILABLE",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::Internal => "INTERNAL",
        other => panic!("no reason comes with {other:?}"),
    }
}

#[test]
fn every_reason_is_documented_with_its_code_cause_and_cure_and_no_other() {
    let mut documented: Vec<(String, String)> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .map(|row| {
            let cells: Vec<&str> = row
                .trim_end_matches('|')
                .split('|')
                .map(str::trim)
                .collect();
            assert_eq!(cells.len(), 4, "four cells in {row}");
            assert!(
                cells.iter().all(|cell| !cell.is_empty()),
                "an empty cell in {row}"
            );
            (
                cells[0].trim_end_matches('`').to_owned(),
                cells[1].to_owned(),
            )
        })
        .collect();
    let mut known: Vec<(String, String)> = Reason::ALL
        .iter()
        .map(|reason| {
            (
                reason.as_str().to_owned(),
                code_name(reason.code()).to_owned(),
            )
        })
        .collect();
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

#[test]
fn every_kind_of_failure_has_its_code_reason_and_details() {
    let mut violations = Violations::new();
    violations.add("title", "is required");
    violations.add("brief", "is 70000 bytes long");
    let status = Status::from(Fault::from(violations));
    assert_eq!(status.code(), Code::InvalidArgument);
    let details = status.get_error_details();
    let fields: Vec<_> = details
        .bad_request()
        .unwrap()
        .field_violations
        .iter()
        .map(|v| v.field.clone())
        .collect();
    assert_eq!(fields, ["title", "brief"]);
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), info.domain.as_str()),
        ("VALIDATION_FAILED", DOMAIN)
    );

    let status = Status::from(Fault::not_found("story", "s-1"));
    assert_eq!(status.code(), Code::NotFound);
    let details = status.get_error_details();
    let resource = details.resource_info().unwrap();
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("story", "s-1")
    );

    let fault = Fault::precondition(Reason::StoryState, "s-1 is in DRAFT")
        .with("subject", "s-1")
        .with("state", "DRAFT");
    let status = Status::from(fault);
    assert_eq!(status.code(), Code::FailedPrecondition);
    let details = status.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(
        (violation.r#type.as_str(), violation.subject.as_str()),
        ("STORY_STATE", "s-1")
    );
    assert_eq!(details.error_info().unwrap().metadata["state"], "DRAFT");

    let status = Status::from(Fault::Unavailable {
        dependency: "neo4j",
    });
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert_eq!(
        details.error_info().unwrap().metadata["dependency"],
        "neo4j"
    );

    for (fault, code) in [
        (
            Fault::denied(Reason::RoleNotAllowed, "qa may not"),
            Code::PermissionDenied,
        ),
        (
            Fault::Unauthenticated {
                message: "no token".into(),
            },
            Code::Unauthenticated,
        ),
        (
            Fault::Exhausted {
                message: "busy".into(),
            },
            Code::ResourceExhausted,
        ),
        (Fault::Deadline, Code::DeadlineExceeded),
    ] {
        let reason = fault.reason();
        let status = Status::from(fault);
        assert_eq!(status.code(), code);
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            reason.as_str()
        );
    }
}

#[test]
fn failures_of_the_store_become_what_a_caller_can_act_on() {
    let key = NodeKey::new(Label::Story, "s-1");
    let away = || Unavailable {
        store: "neo4j",
        reason: "Connection refused".into(),
        retryable: true,
    };

    let status = Status::from(Fault::from(CommitError::Conflict {
        key: key.clone(),
        expected: 3,
        found: 5,
    }));
    assert_eq!(status.code(), Code::Aborted);
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "STALE_VERSION");
    assert_eq!(
        details.error_info().unwrap().metadata["current_version"],
        "5"
    );

    let reason = |fault: Fault| {
        Status::from(fault)
            .get_error_details()
            .error_info()
            .unwrap()
            .reason
            .clone()
    };
    assert_eq!(
        reason(CommitError::Missing { key: key.clone() }.into()),
        "NOT_FOUND"
    );
    assert_eq!(
        reason(CommitError::AlreadyExists { key }.into()),
        "ALREADY_EXISTS"
    );
    assert_eq!(
        reason(CommitError::RequestMismatch.into()),
        "REQUEST_ID_REUSED"
    );
    for fault in [
        Fault::from(CommitError::Unavailable(away())),
        ReadError::Unavailable(away()).into(),
    ] {
        let status = Status::from(fault);
        assert_eq!(
            status.message(),
            "neo4j is unavailable, try again",
            "no driver text"
        );
    }
}

#[tokio::test]
async fn an_internal_error_is_opaque_and_carries_the_correlation_id() {
    let mut call = Call::local(
        "test/Method",
        Deadline::after(std::time::Duration::from_secs(1)),
    );
    call.correlation = "c-42".to_owned();
    let status = call
        .scope(async { Status::from(Fault::internal("password=hunter2 in a driver text")) })
        .await;
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("hunter2"));
    assert!(status.message().contains("c-42"));
    assert_eq!(
        status.get_error_details().error_info().unwrap().metadata["correlation_id"],
        "c-42"
    );
}

#[test]
fn a_status_stays_small_however_much_is_wrong() {
    let mut violations = Violations::new();
    for i in 0..500 {
        violations.add(format!("tasks[{i}].title"), "é".repeat(2_000));
    }
    let status = Status::from(Fault::from(violations));
    let size = status.details().len() + status.message().len();
    assert!(size < 8 * 1024, "{size} bytes");
    let details = status.get_error_details();
    let last = details
        .bad_request()
        .unwrap()
        .field_violations
        .last()
        .cloned()
        .unwrap();
    assert!(last.description.ends_with(" more"), "{last:?}");

    let huge = Fault::aborted(Reason::ClaimHeld, "x".repeat(100_000))
        .with("lease_until", "y".repeat(100_000));
    let status = Status::from(huge);
    assert!(status.details().len() + status.message().len() < 8 * 1024);
}
