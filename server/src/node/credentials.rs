//! What the node shows and believes: certificates, the peer secret, users and passwords.
//!
//! All of it may stand in files, which are read again when they change and on SIGHUP. What is wrong with a file then is
//! logged, and what was in force stays so: a mistake in the night must not lock everybody out.

use crate::config::{Config, Secret as Source};
use crate::dispatch::{Users, acl};
use crate::net::peer::Secret;
use crate::net::tls::{self, Tls};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// A handle; clones share what is in force.
#[derive(Clone)]
pub(super) struct Credentials {
    auth: Option<Source>,
    peer_secret: Option<Source>,
    acl_file: Option<PathBuf>,
    tls: Option<Tls>,
    users: Users,
    secret: Arc<Mutex<Secret>>,
}

/// Why the node has no credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tls(#[from] tls::Error),
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}", path.display())]
    Acl { path: PathBuf, source: acl::Error },
}

impl Credentials {
    pub(super) fn load(config: &Config) -> Result<Credentials, Error> {
        let credentials = Credentials {
            auth: config.auth.clone(),
            peer_secret: config.peer_secret.clone(),
            acl_file: config.acl_file.clone(),
            tls: config.tls.clone().map(Tls::load).transpose()?,
            users: Users::default(),
            secret: Arc::default(),
        };
        credentials.read_secrets()?;
        Ok(credentials)
    }

    pub(super) fn tls(&self) -> Option<Tls> {
        self.tls.clone()
    }

    pub(super) fn users(&self) -> Users {
        self.users.clone()
    }

    pub(super) fn secret(&self) -> Secret {
        self.secret.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again whenever they change, and on SIGHUP, until the node stops.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::warn!(%error, "SIGHUP cannot be waited for"),
        };
        let mut seen = self.stamps();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => {}
                () = tokio::time::sleep(PERIOD) => {
                    let now = self.stamps();
                    if now == seen {
                        continue;
                    }
                    seen = now;
                }
            }
            let reloaded = self.tls.as_ref().map_or(Ok(()), Tls::reload).map_err(Error::from);
            match reloaded.and_then(|()| self.read_secrets()) {
                Ok(()) => tracing::info!("credentials are read again"),
                Err(error) => {
                    let error = crate::fault::chain(&error);
                    tracing::error!(error, "credentials are not read again; those before stay in force");
                }
            }
        }
    }

    /// All of them, or none.
    fn read_secrets(&self) -> Result<(), Error> {
        let password = self.auth.as_ref().map(read).transpose()?.filter(|password| !password.is_empty());
        let own = self.peer_secret.as_ref().map(read).transpose()?.filter(|secret| !secret.is_empty());
        let secret = match (own, &password) {
            (Some(secret), _) => Secret::new(secret),
            // Who knows it does not know the password.
            (None, Some(password)) => Secret::derived("uhaha-server peer secret 1", password),
            (None, None) => Secret::default(),
        };
        let acl = self.acl_file.as_deref().map(read_file).transpose()?;
        let path = self.acl_file.clone().unwrap_or_default();
        self.users.set(password.as_deref(), acl.as_deref()).map_err(|source| Error::Acl { path, source })?;
        *self.secret.lock().unwrap_or_else(PoisonError::into_inner) = secret;
        Ok(())
    }

    /// When each file was last changed.
    fn stamps(&self) -> Vec<Option<SystemTime>> {
        let secrets = [&self.auth, &self.peer_secret].into_iter().flatten().filter_map(|source| match source {
            Source::File(path) => Some(path.as_path()),
            Source::Text(_) => None,
        });
        let tls = self.tls.iter().flat_map(Tls::files);
        let files = secrets.chain(self.acl_file.as_deref()).chain(tls);
        files.map(|file| std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()).collect()
    }
}

fn read(source: &Source) -> Result<String, Error> {
    match source {
        Source::Text(text) => Ok(text.clone()),
        // Editors end a file with a line's end, which nobody means as part of a secret.
        Source::File(path) => Ok(read_file(path)?.trim_end_matches(['\n', '\r']).to_owned()),
    }
}

fn read_file(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}
