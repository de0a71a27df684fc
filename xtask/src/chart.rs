//! Charts: named series of (x, y) over a grid, with axes from the data.

use crate::picture::{Anchor, FAINT, GRID, INK, Picture, SERIES};

/// A line of a chart.
#[derive(Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f32, f32)>,
    /// A dashed line stays visible above a solid one that it covers.
    pub dashed: bool,
}

/// A line chart whose y axis is logarithmic.
pub fn log_lines(title: &str, x_name: &str, y_name: &str, series: &[Series]) -> Picture {
    let (left, top, width, height) = (64.0, 60.0, 620.0, 340.0);
    let mut picture = Picture::new(left + width + 30.0, top + height + 56.0);
    let points = || series.iter().flat_map(|series| &series.points);
    let right = points().map(|point| point.0).fold(1.0, f32::max);
    let high = points().map(|point| point.1).fold(f32::MIN_POSITIVE, f32::max).log10().ceil();
    let low = points().map(|point| point.1).fold(f32::MAX, f32::min).max(1e-9).log10().floor().min(high - 1.0);
    let place =
        |&(x, y): &(f32, f32)| (left + width * x / right, top + height * (high - y.max(1e-9).log10()) / (high - low));
    picture.text((left, 26.0), Anchor::Start, 16.0, INK, title);
    for decade in low as i32..=high as i32 {
        let value = 10f32.powi(decade);
        let (_, y) = place(&(0.0, value));
        picture.line(&[(left, y), (left + width, y)], 1.0, GRID);
        picture.text((left - 8.0, y + 4.0), Anchor::End, 11.0, FAINT, &format!("{value}"));
    }
    let step = round_step(right / 6.0);
    for tick in 0..=(right / step) as u32 {
        let x = step * tick as f32;
        let (at, _) = place(&(x, 1.0));
        picture.line(&[(at, top), (at, top + height)], 1.0, GRID);
        picture.text((at, top + height + 18.0), Anchor::Middle, 11.0, FAINT, &format!("{x}"));
    }
    picture.text((left + width / 2.0, top + height + 40.0), Anchor::Middle, 12.0, INK, x_name);
    picture.text((left, top - 10.0), Anchor::Start, 12.0, INK, y_name);
    let legend = left + width - 250.0;
    let mut row = top + 18.0;
    for (index, series) in series.iter().enumerate() {
        let colour = SERIES[index % SERIES.len()];
        let line = series.points.iter().map(place).collect::<Vec<_>>();
        for points in [line, vec![(legend, row - 4.0), (legend + 26.0, row - 4.0)]] {
            if series.dashed {
                picture.dashed_line(&points, 1.5, colour);
            } else {
                picture.line(&points, 2.5, colour);
            }
        }
        picture.text((legend + 34.0, row), Anchor::Start, 12.0, INK, &series.name);
        row += 18.0;
    }
    picture
}

/// The next of 1, 2, 5, 10, 20, … that is no smaller.
fn round_step(least: f32) -> f32 {
    let power = 10f32.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round() {
        let check = |least, expected: f32| assert!((round_step(least) / expected - 1.0).abs() < 1e-5, "{least}");
        check(0.9, 1.0);
        check(1.1, 2.0);
        check(30.0, 50.0);
        check(55.0, 100.0);
    }
}
