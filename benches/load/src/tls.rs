//! The client's side of the TLS rows: one version, one cipher, one certificate, and never a resumed session.
//!
//! What is measured is the server. The client leaves it no choice, so that no two loops are compared over different
//! ciphers, and it checks what it is shown, so that a server that answers in the clear or as somebody else is no result.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, version};

use crate::args::Args;

/// A client that begins any number of sessions.
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// What the command line wants: nothing without a certificate.
    pub(crate) fn of(args: &Args) -> io::Result<Option<Self>> {
        let Some(path) = &args.certificate else {
            return Ok(None);
        };
        let invalid = |error: &dyn std::fmt::Display| {
            io::Error::new(
                ErrorKind::InvalidInput,
                format!("{}: {error}", path.display()),
            )
        };
        let certificate = CertificateDer::from_pem_file(path).map_err(|error| invalid(&error))?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).map_err(|error| invalid(&error))?;

        let mut provider = ring::default_provider();
        provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
        provider.kx_groups = vec![ring::kx_group::X25519];
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| invalid(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Some(Self {
            config: Arc::new(config),
            name: args.address().ip().into(),
        }))
    }

    pub(crate) fn begin(&self) -> io::Result<ClientConnection> {
        let mut session = ClientConnection::new(Arc::clone(&self.config), self.name.clone())
            .map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        Ok(session)
    }
}
