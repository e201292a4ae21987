//! Requests that may arrive twice and must have one effect and one answer.

use std::fmt::Write as _;

use fleet_graph::{GraphStore, Request, RequestKey};
use fleet_types::Violations;
use prost::Message;
use sha2::{Digest as _, Sha256};

use crate::{Call, Fault, Reason};

/// Longest `request_id`, in characters.
pub const MAX_REQUEST_ID: usize = 128;

/// A request under a `request_id`, as the commit with its effect records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    key: RequestKey,
    fingerprint: String,
}

impl Idempotency {
    /// What goes into [`fleet_graph::Commit::request`], with the answer that the caller will
    /// get now and whenever he repeats the request.
    pub fn record<R: Message>(&self, response: &R) -> Request {
        Request {
            key: self.key.clone(),
            fingerprint: self.fingerprint.clone(),
            response: response.encode_to_vec(),
        }
    }

    /// The recorded answer, if the request was made before.
    async fn past<R: Message + Default>(
        &self,
        store: &dyn GraphStore,
        call: &Call,
    ) -> Result<Option<R>, Fault> {
        match store.past_request(&self.key, call.deadline).await? {
            None => Ok(None),
            Some(past) if past.fingerprint == self.fingerprint => decode(&past.response).map(Some),
            Some(_) => Err(Fault::AlreadyExists {
                reason: Reason::RequestIdReused,
                message: "this request_id was used before for a request of other content"
                    .to_owned(),
            }),
        }
    }
}

/// Adds a violation if `request_id` is neither empty nor 1 to [`MAX_REQUEST_ID`] printable
/// ASCII characters.
pub fn check_request_id(violations: &mut Violations, request_id: &str) {
    let printable = request_id
        .bytes()
        .all(|b| b.is_ascii_graphic() || b == b' ');
    if request_id.len() > MAX_REQUEST_ID || !printable {
        violations.add(
            "request_id",
            format!("must be at most {MAX_REQUEST_ID} printable ASCII characters"),
        );
    }
}

/// Runs `body` so that the same request has one effect and one answer, wherever and however
/// often it arrives.
///
/// `request` is the message with its `request_id` taken out (`std::mem::take`); an empty
/// `request_id` means that the caller does not care. Otherwise `body` gets an
/// [`Idempotency`] whose [`record`](Idempotency::record) belongs into its commit; the
/// `CommitError` of that commit is to be turned into a [`Fault`] by `?`, so that a replay by
/// another replica at the same moment is recognised. Failures are not recorded.
///
/// # Errors
/// [`Fault::Invalid`] for a malformed id, [`Reason::RequestIdReused`] for other content under
/// the same id, and those of `body`.
pub async fn idempotent<Req, Res, F>(
    store: &dyn GraphStore,
    call: &Call,
    request_id: &str,
    request: &Req,
    body: impl FnOnce(Option<Idempotency>) -> F,
) -> Result<Res, Fault>
where
    Req: Message,
    Res: Message + Default,
    F: Future<Output = Result<Res, Fault>>,
{
    if request_id.is_empty() {
        return body(None).await;
    }
    let mut violations = Violations::new();
    check_request_id(&mut violations, request_id);
    violations.into_result()?;
    let key = RequestKey {
        method: call.method.clone(),
        principal: call.principal.id.to_string(),
        request_id: request_id.to_owned(),
    };
    let idempotency = Idempotency {
        key,
        fingerprint: fingerprint(request),
    };
    if let Some(answer) = idempotency.past(store, call).await? {
        return Ok(answer);
    }
    match body(Some(idempotency.clone())).await {
        Ok(answer) => Ok(answer),
        Err(Fault::Replayed { response }) => decode(&response),
        Err(fault @ (Fault::Unavailable { .. } | Fault::Deadline | Fault::Internal(_))) => {
            Err(fault)
        }
        // The same request may have had its effect elsewhere after we looked: then what
        // stands in the way of `body` is the caller's own success.
        Err(fault) => match idempotency.past(store, call).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) | Err(_) => Err(fault),
        },
    }
}

/// SHA-256 of the encoded message, in hexadecimal.
fn fingerprint<M: Message>(message: &M) -> String {
    let digest = Sha256::digest(message.encode_to_vec());
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

fn decode<R: Message + Default>(response: &[u8]) -> Result<R, Fault> {
    R::decode(response).map_err(Fault::internal)
}
