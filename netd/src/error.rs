//! The error of every request: what kind it is, what failed on what, and the way out.

use std::{collections::BTreeMap, fmt};

/// What kind of failure; each maps to one gRPC status code, and by it to one of Docker's HTTP statuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Malformed or contradictory input (`INVALID_ARGUMENT`, 400).
    Invalid,
    /// The named thing does not exist (`NOT_FOUND`, 404).
    NotFound,
    /// The name is taken (`ALREADY_EXISTS`, 409).
    Exists,
    /// Refused in the present state: in use, overlapping, taken (`FAILED_PRECONDITION`, 403).
    Conflict,
    /// Never allowed, as on predefined networks (`PERMISSION_DENIED`, 403).
    Forbidden,
    /// A pool or table has no room left (`RESOURCE_EXHAUSTED`, 500).
    Exhausted,
    /// The kernel lacks something (`UNIMPLEMENTED`, 501).
    Unsupported,
    /// The store or a plugin is away; the same request may succeed later (`UNAVAILABLE`, 503).
    Unavailable,
    /// The kernel, the store or netd itself failed (`INTERNAL`, 500).
    Internal,
}

/// Why, for programs: stands in `google.rpc.ErrorInfo`. Each has one of Docker's HTTP statuses; words are only added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Nothing more precise than its [`Kind`].
    Unspecified,
    /// A published port is held: `port`, `holder`.
    PortAllocated,
    /// The host does not own the address: `address`.
    AddressNotOwned,
    /// The address is an endpoint's, a gateway's or reserved: `address`, `network`.
    AddressInUse,
    /// The address is of no subnet of the network: `address`, `network`.
    AddressOutOfRange,
    /// The Ethernet address is another endpoint's: `address`, `network`.
    MacInUse,
    /// No address is left: `network`.
    AddressesExhausted,
    /// The subnet overlaps another network's: `subnet`, `holder`.
    PoolOverlap,
    /// The subnet holds an address of the host's own, or of its router: `subnet`, `address`, `interface`.
    SubnetInUse,
    /// No automatic subnet is left.
    PoolsExhausted,
    /// Another network has a device of that name: `device`, `holder`.
    DeviceInUse,
    /// Sandboxes are connected: `network`, `holders`.
    HasEndpoints,
    /// Networks borrow its configuration: `network`, `holders`.
    ConfigurationInUse,
    /// The sandbox is not on the network: `sandbox`, `network`.
    NotConnected,
    /// The sandbox is on the network already: `sandbox`, `network`.
    AlreadyConnected,
    /// The sandbox runs: `sandbox`.
    AlreadyRunning,
    /// The sandbox does not run: `sandbox`.
    NotRunning,
    /// The network may not stand beside others of the sandbox: `network`.
    StandsAlone,
    /// A network of every host that cannot be made, changed or removed: `network`.
    Predefined,
    /// Nobody has that network driver or IPAM driver: `driver`.
    UnknownDriver,
    /// The namespace is another sandbox's or the host's: `path`, `holder`.
    NamespaceInUse,
    /// An interface of that name is there: `interface`.
    InterfaceInUse,
    /// The object is degraded: `object`.
    Degraded,
    /// The store refuses writes: `store`.
    StoreFailed,
    /// The revision asked for is older than what is remembered: `oldest`.
    RevisionGone,
    /// The object has changed since the revision given: `revision`.
    RevisionMismatch,
    /// A list or text is longer than allowed: `field`, `limit`.
    TooMany,
    /// Another request with this request id asked for something else: `request_id`.
    RequestIdReused,
}

/// A failed request.
#[derive(Clone, Debug)]
pub struct Error {
    /// What kind of failure.
    pub kind: Kind,
    /// What failed, on what, and why, in one sentence without a final stop.
    pub message: String,
    /// The way out, if there is one.
    pub hint: Option<String>,
    /// Why, for programs.
    pub reason: Reason,
    /// What it is about, by the names that the reason lists.
    pub about: BTreeMap<&'static str, String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            reason: Reason::Unspecified,
            about: BTreeMap::new(),
        }
    }

    /// The same error with its reason for programs.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }

    /// The same error with what it is about.
    #[must_use]
    pub fn about(mut self, what: &'static str, value: impl fmt::Display) -> Self {
        self.about.insert(what, value.to_string());
        self
    }

    /// The same error with the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `INVALID_ARGUMENT`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// `NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// `FAILED_PRECONDITION`.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }

    /// `INTERNAL`, with the cause.
    pub fn internal(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::new(Kind::Internal, format!("{what}: {cause}"))
    }
}

/// An error with its causes: many libraries keep the system's own words for the last of them.
pub fn chain(e: &dyn std::error::Error) -> String {
    let mut text = e.to_string();
    let mut source = e.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Result of a request.
pub type Result<T> = std::result::Result<T, Error>;
