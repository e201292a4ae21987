//! `fleet up` with TLS: what one service says to another, and what the commands say to it.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::{Path, PathBuf};

use crate::support::{Up, err, out, run};
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_proto::context::v1::{CreateStoryRequest, CreateTaskRequest};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// Certificate and key of a server on loopback, and the authority that signed it.
struct Files {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

impl Files {
    fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let write = |name: &str, text: String| {
            let file = dir.join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        Self {
            cert: write("cert.pem", certificate.pem()),
            key: write("key.pem", key.serialize_pem()),
            ca: write("ca.pem", authority.pem()),
        }
    }

    fn client(&self) -> ClientTlsConfig {
        let ca = std::fs::read(&self.ca).unwrap();
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca))
    }
}

async fn context(uri: &str, tls: Option<ClientTlsConfig>) -> ContextServiceClient<Channel> {
    let mut endpoint = Endpoint::from_shared(uri.to_owned()).unwrap();
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).unwrap();
    }
    ContextServiceClient::new(endpoint.connect().await.unwrap())
}

fn task(story_id: &str) -> CreateTaskRequest {
    CreateTaskRequest {
        story_id: story_id.to_owned(),
        title: "Answer".to_owned(),
        description: "Answer within 100 ms".to_owned(),
        role: "developer".to_owned(),
        ..CreateTaskRequest::default()
    }
}

#[tokio::test]
async fn context_reaches_planning_and_the_commands_reach_context() {
    let dir = tempfile::tempdir().unwrap();
    let files = Files::new(&dir.path().join("own"));
    let data = dir.path().join("data");
    let up = Up::secured(&data, files.client(), |command| {
        command.arg("--tls-cert-file").arg(&files.cert);
        command.arg("--tls-key-file").arg(&files.key);
    })
    .await;
    let mut client = context(&up.context, Some(files.client())).await;
    let story = CreateStoryRequest {
        title: "Health".to_owned(),
        description: "As an operator I want to know how it is".to_owned(),
        initial_phase: "BUILD".to_owned(),
        ..CreateStoryRequest::default()
    };
    let story = client.create_story(story).await.unwrap().into_inner();
    client.create_task(task(&story.story_id)).await.unwrap();

    let ca = files.ca.to_str().unwrap();
    let other = Files::new(&dir.path().join("other"));
    let other_ca = other.ca.to_str().unwrap();
    let plain = up.context.replace("https:", "http:");
    let data = data.to_str().unwrap();
    let get = |place: &[&str]| {
        let of = ["context", "get", "--role", "developer", "--phase", "BUILD"];
        run(&[&of[..], &["--story", &story.story_id], place].concat())
    };
    for place in [["--data", data], ["--server", &up.context]] {
        let told = get(&[&place[..], &["--ca-file", ca]].concat());
        assert!(out(&told).contains("## Story"), "{place:?}: {}", err(&told));
    }
    for (place, said) in [
        (
            &["--data", data][..],
            "serves context with TLS on https://127.0.0.1:",
        ),
        (
            &["--data", data, "--ca-file", other_ca],
            "--server https://NAME:PORT",
        ),
        (&["--server", &up.context], "with --ca-file"),
        (
            &["--server", &up.context, "--ca-file", other_ca],
            "that can be trusted",
        ),
        (
            &["--server", &up.context, "--ca-file", "/nowhere.pem"],
            "--ca-file: /nowhere.pem cannot be read",
        ),
        (
            &["--server", &plain, "--ca-file", ca],
            "has to begin with https://",
        ),
        (
            &["--server", &plain],
            "if the server speaks TLS, its address begins with https://",
        ),
    ] {
        let refused = get(place);
        assert_eq!(refused.status.code(), Some(1), "{place:?}");
        assert!(err(&refused).contains(said), "{said}: {}", err(&refused));
    }

    // Planning elsewhere, with a certificate that has to be trusted.
    for (ca, code) in [
        (&files.ca, None),
        (&other.ca, Some(tonic::Code::Unavailable)),
    ] {
        let elsewhere = Up::start(&dir.path().join("elsewhere"), |command| {
            command.args(["--planning-uri", &up.planning]);
            command.arg("--planning-ca-file").arg(ca);
        })
        .await;
        let mut client = context(&elsewhere.context, None).await;
        let created = client.create_task(task(&story.story_id)).await;
        assert_eq!(
            created.as_ref().err().map(tonic::Status::code),
            code,
            "{created:?}"
        );
    }
}
