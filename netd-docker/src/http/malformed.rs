//! Heads that cannot be read.

/// A request's head that cannot be read: what Go's server answers before it closes.
#[derive(Clone, Debug)]
pub struct Malformed {
    pub(super) status: &'static str,
    pub(super) body: &'static str,
}

impl Malformed {
    /// 400 without a reason.
    pub const REQUEST: Self = Self::same("400 Bad Request");
    /// 431.
    pub const TOO_LONG: Self = Self::same("431 Request Header Fields Too Large");

    pub(super) const fn same(status: &'static str) -> Self {
        Self {
            status,
            body: status,
        }
    }

    /// The whole answer.
    pub fn wire(&self) -> String {
        format!(
            "HTTP/1.1 {}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{}",
            self.status, self.body
        )
    }
}
