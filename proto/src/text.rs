//! Texts that daemon and clients read alike.

/// A truth value as Go's `strconv.ParseBool` reads it, and so Docker.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
