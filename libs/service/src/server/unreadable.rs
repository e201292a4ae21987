//! What a caller is told whose message cannot be read.
//!
//! The codec answers before any handler is asked: it calls bytes that are not of the message's
//! type a bug of the server, has its own code for too many of them, and tells both in its own
//! words. Its statuses are those without details; ours always have some.

use std::collections::HashMap;

use fleet_types::Violations;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{DOMAIN, Fault, MAX_RECEIVE_BYTES, Reason};

/// How the codec begins when it could not decode.
const UNDECODED: &str = "failed to decode Protobuf message: ";

/// The status that says whose fault it is; `None` if this is not one of the codec's.
pub(super) fn judged(status: &Status) -> Option<Status> {
    if !status.details().is_empty() {
        return None;
    }
    match status.code() {
        Code::OutOfRange => {
            let reason = Reason::MessageTooLarge;
            let none = HashMap::<String, String>::new();
            let details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, none);
            let message = format!("the message is too large; at most {MAX_RECEIVE_BYTES} bytes");
            Some(Status::with_error_details(reason.code(), message, details))
        }
        Code::Internal => {
            let problem = status.message().strip_prefix(UNDECODED)?;
            let mut violations = Violations::new();
            let (field, problem) = place(problem);
            violations.add(&field, problem);
            Some(Fault::Invalid(violations).into())
        }
        _ => None,
    }
}

/// The field that could not be decoded, with the fields around it, and what is wrong with it.
/// The codec names each as `Message.field: `, outermost first.
fn place(problem: &str) -> (String, &'static str) {
    let fields: Vec<&str> = problem
        .split(": ")
        .map_while(|part| part.split_once('.'))
        .map(|(_, field)| field)
        .collect();
    let what = if problem.contains("UTF-8") {
        "is not UTF-8 text"
    } else {
        "is not encoded as its type asks for"
    };
    match fields.as_slice() {
        [] => ("message".to_owned(), what),
        fields => (fields.join("."), what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_found() {
        let of = |problem| place(problem).0;
        assert_eq!(of("invalid varint"), "message");
        let nested = "Request.result: WorkResult.feedback: invalid string value: no UTF-8";
        assert_eq!(
            place(nested),
            ("result.feedback".into(), "is not UTF-8 text")
        );
        assert_eq!(
            of("Request.task_id: invalid wire type: Varint (expected LengthDelimited)"),
            "task_id"
        );
    }
}
