//! How arms are told apart: by colour, and by dash and marker for whoever sees no colours or a print. Knows no data.

use std::fmt::Write;

/// On white and on near black, each at least 3:1 against its ground, and told apart with any one kind of cone missing.
const COLOURS: [(&str, &str); 6] = [
    ("#0b66c2", "#5aa9ff"),
    ("#c8500a", "#ff9a52"),
    ("#00795e", "#2fc9a0"),
    ("#8c3fa0", "#d79be6"),
    ("#7a6400", "#dcc04a"),
    ("#4a4a4a", "#c9c9c9"),
];

/// As many as are told apart at a glance; empty is a full line.
const DASHES: [&str; 5] = ["", "7 3", "2 2.5", "9 3 2 3", "14 4"];

/// The look of one arm, the same in every chart and table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style(pub(super) usize);

impl Style {
    /// For readers of SVG that know no style sheets; the classes win elsewhere.
    pub(super) fn colour(self) -> &'static str {
        COLOURS[self.0 % COLOURS.len()].0
    }

    /// Its lines'.
    pub(super) fn line_class(self) -> String {
        format!("l{}", self.0 % COLOURS.len())
    }

    /// Its areas'.
    pub(super) fn fill_class(self) -> String {
        format!("f{}", self.0 % COLOURS.len())
    }

    pub(super) fn dash(self) -> &'static str {
        DASHES[self.0 % DASHES.len()]
    }

    /// The path of its marker around a point: disc, square, triangle, diamond, inverted triangle.
    pub(super) fn marker(self, x: f64, y: f64) -> String {
        const R: f64 = 3.4;
        match self.0 % DASHES.len() {
            0 => format!("M{:.1} {y:.1}a{R} {R} 0 1 0 {} 0a{R} {R} 0 1 0 -{} 0z", x - R, 2.0 * R, 2.0 * R),
            1 => format!("M{:.1} {:.1}h6v6h-6z", x - 3.0, y - 3.0),
            2 => format!("M{x:.1} {:.1}l4 7h-8z", y - 4.2),
            3 => format!("M{x:.1} {:.1}l4.2 4.2l-4.2 4.2l-4.2 -4.2z", y - 4.2),
            _ => format!("M{x:.1} {:.1}l-4 -7h8z", y + 4.2),
        }
    }
}

/// The colours as a style sheet: by class, dark on a screen that asks for it, never on paper.
pub(super) fn sheet() -> String {
    let (mut light, mut dark, mut classes) = (String::new(), String::new(), String::new());
    for (index, (on_white, on_black)) in COLOURS.iter().enumerate() {
        let _ = write!(light, "--arm{index}:{on_white};");
        let _ = write!(dark, "--arm{index}:{on_black};");
        let _ = write!(classes, ".l{index}{{stroke:var(--arm{index})}}.f{index}{{fill:var(--arm{index})}}");
    }
    format!(":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn thirty_arms_look_different_and_neighbours_differ_without_colour() {
        let looks: BTreeSet<_> = (0..30).map(|arm| (Style(arm).colour(), Style(arm).dash())).collect();
        assert_eq!(looks.len(), 30);
        for arm in 0..30 {
            assert_ne!(Style(arm).dash(), Style(arm + 1).dash());
            assert_ne!(Style(arm).marker(0.0, 0.0), Style(arm + 1).marker(0.0, 0.0));
        }
    }

    #[test]
    fn every_colour_stands_out_from_its_ground() {
        for (on_white, on_black) in COLOURS {
            assert!(contrast(on_white, "#ffffff") >= 4.0, "{on_white}");
            assert!(contrast(on_black, "#14171c") >= 4.0, "{on_black}");
        }
    }

    /// As WCAG 2 defines it.
    fn contrast(one: &str, other: &str) -> f64 {
        let luminance = |colour: &str| {
            let channel = |at: usize| {
                let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).expect("hex digits")) / 255.0;
                if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
        };
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }
}
