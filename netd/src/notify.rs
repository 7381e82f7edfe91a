//! Words to the service manager (sd_notify(3)): ready, reloading, stopping, and a line of status. Without one, nothing.

use sd_notify::NotifyState;

fn send(words: &[NotifyState<'_>]) {
    if let Err(e) = sd_notify::notify(words) {
        tracing::warn!("telling the service manager: {e}");
    }
}

/// One line: each line of a message is an assignment of its own.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The daemon serves, or has taken its new settings.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(&line(status))]);
}

/// The settings are read anew; [`ready`] must follow.
pub fn reloading() {
    let mut words = vec![NotifyState::Reloading];
    words.extend(NotifyState::monotonic_usec_now().ok());
    send(&words);
}

/// How a start goes on.
pub fn status(text: &str) {
    send(&[NotifyState::Status(&line(text))]);
}

/// The daemon ends, as it was asked to.
pub fn stopping() {
    send(&[
        NotifyState::Stopping,
        NotifyState::Status("networks go on without the daemon"),
    ]);
}
