//! What to log, as the operator says it. A word that names nothing is refused: it would silence everything.

use netd::error::{Error, Result};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The filter that a text asks for.
pub fn filter(text: &str) -> Result<EnvFilter> {
    let refused = |why: &str| {
        Error::invalid(format!("--log {text:?}: {why}")).hint(
            "error, warn, info, debug, trace or off; or filters such as info,netd::engine=debug, of a module and a level each",
        )
    };
    if text.trim().is_empty() {
        return Err(refused("it asks for nothing"));
    }
    for part in text.split(',').map(str::trim) {
        // Without a level it would be the name of a program's part, of which all is logged, and of others nothing.
        let names = part.contains(['=', '[']) || part == "netd" || part.starts_with("netd::");
        if !names && part.parse::<LevelFilter>().is_err() {
            return Err(refused(&format!("{part:?} is not a level")));
        }
    }
    EnvFilter::try_new(text).map_err(|e| refused(&netd::error::chain(&e)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b2_a_filter_that_would_log_nothing_is_refused_with_the_way_out() {
        for text in [
            "inof",
            "",
            " ",
            "verbose",
            "netd=loud",
            "info,netd::engine=debgu",
            "all",
        ] {
            let refused = filter(text).unwrap_err();
            assert!(refused.message.contains("--log"), "{refused}");
            assert!(refused.hint.unwrap().contains("debug"), "{text}");
        }
        for text in [
            "info",
            "info,",
            "WARN",
            "off",
            "netd",
            "netd::dns",
            "info,netd::engine=debug",
            "warn,h2=error",
        ] {
            assert!(filter(text).is_ok(), "{text}");
        }
    }
}
