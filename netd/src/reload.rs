//! Settings that change while the daemon runs: read anew at SIGHUP, all or nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{
    api::{
        access::Access,
        socket::{self, Place},
        tls::Tls,
    },
    config::{Config, Source},
    error::Result,
    notify,
};

/// What takes new settings.
#[derive(Debug)]
pub struct Reload {
    source: Source,
    /// The settings that the daemon began with: what differs from them needs a restart.
    begun: Config,
    socket: Arc<Place>,
    access: Arc<ArcSwap<Access>>,
    tls: Option<Arc<Tls>>,
}

impl Reload {
    /// For a daemon that began with these settings.
    ///
    /// # Errors
    /// When its TLS files cannot be used.
    pub fn new(source: Source, begun: Config, socket: Arc<Place>) -> Result<Self> {
        let tls = begun.listen.tls()?;
        let tls = tls.map(|tls| Tls::new(tls.files)).transpose()?;
        Ok(Self {
            access: Arc::new(ArcSwap::from_pointee(Access::new(&begun.access))),
            tls: tls.map(Arc::new),
            source,
            begun,
            socket,
        })
    }

    /// Who may do what over TCP.
    pub fn access(&self) -> Arc<ArcSwap<Access>> {
        Arc::clone(&self.access)
    }

    /// The settings of TLS; none if nothing is served over TCP.
    pub fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Takes the settings as they are now; what happened is logged and told to the service manager.
    pub fn now(&self) {
        notify::reloading();
        let status = match self.take() {
            Ok(waits) if waits.is_empty() => {
                tracing::info!("the settings were read anew");
                "serving; the settings were read anew".to_owned()
            }
            Ok(waits) => {
                let waits = waits.join(", ");
                tracing::warn!("the settings were read anew; these wait for a restart: {waits}");
                format!("serving; these settings wait for a restart: {waits}")
            }
            Err(e) => {
                tracing::error!("the settings stay as they were: {e}");
                format!("serving; the new settings were refused: {e}")
            }
        };
        notify::ready(&status);
    }

    fn take(&self) -> Result<Vec<&'static str>> {
        let new = self.source.read()?;
        let group = new.listen.group.as_deref().map(socket::group_id);
        let group = group.transpose()?;
        if let (Some(running), Some(wanted)) = (&self.tls, new.listen.tls()?) {
            running.replace(wanted.files)?;
        }
        // What follows does not fail but for a run directory that cannot be written.
        self.access.store(Arc::new(Access::new(&new.access)));
        self.socket.open_to(group)?;
        Ok(self.begun.needs_restart(&new))
    }
}
