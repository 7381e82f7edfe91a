//! How long a flow lives: many are begun at once, and each is asked only once, because asking may refresh it.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

/// The time after which the first of many flows no longer lives; none when all live for `longest`. `begin` makes
/// the flow with a number, `alive` asks for it.
///
/// # Errors
/// Those of the two.
pub fn life<T>(
    longest: Duration,
    mut begin: impl FnMut(u16) -> Result<T>,
    mut alive: impl FnMut(u16, &T) -> Result<bool>,
) -> Result<Option<Duration>> {
    const FLOWS: u16 = 30;
    let flows = (0..FLOWS)
        .map(|number| Ok((Instant::now(), begin(number)?)))
        .collect::<Result<Vec<_>>>()?;
    let step = longest / u32::from(FLOWS);
    for (number, (begun, flow)) in (0..FLOWS).zip(&flows) {
        // The age is the condition that is waited for.
        let age = step * u32::from(number);
        if let Some(rest) = age.checked_sub(begun.elapsed()) {
            thread::sleep(rest);
        }
        let before = begun.elapsed();
        if !alive(number, flow)? {
            return Ok(Some(before));
        }
    }
    Ok(None)
}
