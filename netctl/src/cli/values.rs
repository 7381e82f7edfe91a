//! Values of flags as Docker's CLI reads them. Knows no flags.

/// `key=value`; without `=` the value is empty.
///
/// # Errors
/// An empty key.
pub fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("{text:?} lacks the key; the form is key=value"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// `name=value`, both needed.
///
/// # Errors
/// Docker's words for another form.
pub fn filter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_lowercase(), value.trim().to_owned())),
        None => Err("bad format of filter (expected name=value)".to_owned()),
    }
}

/// A truth value as Go's `ParseBool` reads it.
///
/// # Errors
/// Any other word.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

/// `SANDBOX[:ALIAS]` as `SANDBOX:ALIAS`; without an alias it is the sandbox's own name.
///
/// # Errors
/// An empty part, or more than two.
pub fn link(text: &str) -> Result<String, String> {
    let (target, alias) = text.split_once(':').unwrap_or((text, text));
    if target.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(format!(
            "bad format for links: {text:?}; the form is sandbox[:alias]"
        ));
    }
    Ok(format!("{target}:{alias}"))
}
