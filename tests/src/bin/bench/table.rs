//! The table: medians, and medians of the rounds' ratios with their spread.

use crate::{
    measure::{Figure, Rates},
    systems::{PATHS, System},
};

/// Prints it, as Markdown.
pub fn print(rates: &Rates, figures: &[Figure], systems: &[System]) {
    println!(
        "\nMedians; ratios are medians of the rounds' ratios, with the lowest and the highest. Client and server"
    );
    println!("share one processor unless it says otherwise.\n");
    let two = systems.len() > 1;
    let more = if two {
        " other / base | netd / other |"
    } else {
        ""
    };
    println!("| path | figure | base | netd | netd / base |{more}");
    println!("|---|---|---|---|---|{}", if two { "---|---|" } else { "" });
    for (path, base) in PATHS {
        for &figure in figures {
            let bases = rates.of(figure, "base", base);
            let netd = rates.of(figure, "netd", path);
            let mut line = format!(
                "| {path} / {base} | {} | {:.1} | {:.1} | {} |",
                figure.name(),
                median(bases.clone()),
                median(netd.clone()),
                ratio(&netd, &bases)
            );
            if two {
                let other = rates.of(figure, "other", path);
                line += &format!(" {} | {} |", ratio(&other, &bases), ratio(&netd, &other));
            }
            println!("{line}");
        }
    }
    if rates.failures() > 0 {
        println!("\n{} connections and exchanges failed", rates.failures());
    }
}

/// The median of the rounds' ratios and how far they lie apart.
fn ratio(of: &[f64], to: &[f64]) -> String {
    let mut ratios: Vec<f64> = of
        .iter()
        .zip(to)
        .filter(|(_, to)| **to > 0.0)
        .map(|(of, to)| of / to)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (ratios.first(), ratios.last()) else {
        return "–".to_owned();
    };
    format!("{:.2} ({first:.2}–{last:.2})", median(ratios.clone()))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
