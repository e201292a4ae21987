//! TLS and mutual TLS: who gets through, with certificates made for the test.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Client, Fixture, state_of};
use fleet_service::ServerSettings;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig,
};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self) -> Certificate {
        Certificate::from_pem(self.0.pem())
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity::from_pem(certificate.pem(), key.serialize_pem())
    }
}

async fn connect(
    fixture: &Fixture,
    tls: ClientTlsConfig,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("https://{}", fixture.address))?;
    endpoint
        .tls_config(tls.domain_name("planning.test"))?
        .connect()
        .await
}

#[tokio::test]
async fn a_server_with_tls_speaks_to_those_who_know_it() {
    let authority = Authority::new();
    let tls = ServerTlsConfig::new().identity(authority.identity("planning.test"));
    let settings = ServerSettings {
        tls: Some(tls),
        ..ServerSettings::default()
    };
    let fixture = Fixture::start(settings).await;
    let trusting = ClientTlsConfig::new().ca_certificate(authority.certificate());
    let mut client = Client::new(connect(&fixture, trusting).await.unwrap());
    assert!(client.get_workflow_state(state_of("T-1")).await.is_ok());
    let stranger = ClientTlsConfig::new().ca_certificate(Authority::new().certificate());
    assert!(
        connect(&fixture, stranger).await.is_err(),
        "another authority"
    );
    let plain = Endpoint::from_shared(format!("http://{}", fixture.address)).unwrap();
    let refused = match plain.connect().await {
        Ok(channel) => Client::new(channel)
            .get_workflow_state(state_of("T-1"))
            .await
            .is_err(),
        Err(_) => true,
    };
    assert!(refused, "no plain text");
}

#[tokio::test]
async fn with_a_client_authority_only_its_clients_get_through() {
    let (ours, clients) = (Authority::new(), Authority::new());
    let tls = ServerTlsConfig::new()
        .identity(ours.identity("planning.test"))
        .client_ca_root(clients.certificate());
    let settings = ServerSettings {
        tls: Some(tls),
        ..ServerSettings::default()
    };
    let fixture = Fixture::start(settings).await;
    let base = ClientTlsConfig::new().ca_certificate(ours.certificate());
    for (who, tls, welcome) in [
        (
            "a client of the authority",
            base.clone().identity(clients.identity("agent.test")),
            true,
        ),
        (
            "a client of another one",
            base.clone()
                .identity(Authority::new().identity("agent.test")),
            false,
        ),
        ("a client without certificate", base, false),
    ] {
        // With TLS 1.3 the refusal reaches the client with its first call.
        let answered = match connect(&fixture, tls).await {
            Ok(channel) => Client::new(channel)
                .get_workflow_state(state_of("T-1"))
                .await
                .is_ok(),
            Err(_) => false,
        };
        assert_eq!(answered, welcome, "{who}");
    }
}
