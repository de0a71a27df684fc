//! Pictures: filled and stroked shapes and text on a white ground, written as PNG.
//!
//! Positions and sizes are in points from the upper left; a picture has two pixels a point, so that it is sharp on
//! today's screens. The typeface comes as data of a crate, so that pictures look the same on every machine.
//!
//! Absent: vector output, and any text layout beyond one line of one size.

use crate::steps::{Failure, Result};
use std::path::Path;
use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};

const PIXELS_PER_POINT: f32 = 2.0;

pub type Rgb = u32;

pub const INK: Rgb = 0x1f2933;
pub const FAINT: Rgb = 0x7b8794;
pub const GRID: Rgb = 0xe4e7eb;
/// Colours that stay apart for the colour-blind (Okabe and Ito), the first being Lazuli's own.
pub const SERIES: [Rgb; 6] = [0x1d4ed8, 0xd55e00, 0x009e73, 0xcc79a7, 0xe69f00, 0x56b4e9];

/// Which point of a text its position names.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

pub struct Picture {
    pixels: Pixmap,
}

impl Picture {
    pub fn new(width: f32, height: f32) -> Picture {
        let size = |points: f32| (points * PIXELS_PER_POINT).ceil() as u32;
        let mut pixels = Pixmap::new(size(width), size(height)).expect("a picture has an extent");
        pixels.fill(Color::WHITE);
        Picture { pixels }
    }

    pub fn save(&self, path: &Path) -> Result {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Failure::new(format!("cannot make {}: {error}", folder.display())))?;
        }
        self.pixels.save_png(path).map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
    }

    pub fn line(&mut self, points: &[(f32, f32)], width: f32, colour: Rgb) {
        self.stroke(points, width, colour, None);
    }

    pub fn dashed_line(&mut self, points: &[(f32, f32)], width: f32, colour: Rgb) {
        self.stroke(points, width, colour, StrokeDash::new(vec![4.0, 3.0], 0.0));
    }

    fn stroke(&mut self, points: &[(f32, f32)], width: f32, colour: Rgb, dash: Option<StrokeDash>) {
        let stroke = Stroke { width, line_cap: LineCap::Round, line_join: LineJoin::Round, dash, ..Stroke::default() };
        if let Some(path) = through(points).finish() {
            self.pixels.stroke_path(&path, &paint(colour), &stroke, scale(), None);
        }
    }

    /// A smooth line through points that go down: a cubic Hermite spline that starts and ends vertically and passes
    /// each other point along the line between its neighbours.
    pub fn curve(&mut self, points: &[(f32, f32)], width: f32, colour: Rgb) {
        let tangent = |at: usize| {
            let (before, after) = (points[at.saturating_sub(1)], points[(at + 1).min(points.len() - 1)]);
            let is_end = at == 0 || at + 1 == points.len();
            if is_end { (0.0, after.1 - before.1) } else { ((after.0 - before.0) / 2.0, (after.1 - before.1) / 2.0) }
        };
        let mut builder = PathBuilder::new();
        for (at, &(x, y)) in points.iter().enumerate() {
            if at == 0 {
                builder.move_to(x, y);
                continue;
            }
            let (from, (dx0, dy0), (dx1, dy1)) = (points[at - 1], tangent(at - 1), tangent(at));
            builder.cubic_to(from.0 + dx0 / 3.0, from.1 + dy0 / 3.0, x - dx1 / 3.0, y - dy1 / 3.0, x, y);
        }
        let stroke = Stroke { width, line_cap: LineCap::Round, ..Stroke::default() };
        if let Some(path) = builder.finish() {
            self.pixels.stroke_path(&path, &paint(colour), &stroke, scale(), None);
        }
    }

    pub fn polygon(&mut self, points: &[(f32, f32)], colour: Rgb) {
        let mut builder = through(points);
        builder.close();
        if let Some(path) = builder.finish() {
            self.pixels.fill_path(&path, &paint(colour), FillRule::Winding, scale(), None);
        }
    }

    /// A rectangle with round corners, filled and with an outline.
    pub fn rounded(&mut self, [x, y, width, height]: [f32; 4], radius: f32, fill: Rgb, outline: Rgb) {
        let (right, bottom) = (x + width, y + height);
        let mut builder = PathBuilder::new();
        builder.move_to(x + radius, y);
        builder.line_to(right - radius, y);
        builder.quad_to(right, y, right, y + radius);
        builder.line_to(right, bottom - radius);
        builder.quad_to(right, bottom, right - radius, bottom);
        builder.line_to(x + radius, bottom);
        builder.quad_to(x, bottom, x, bottom - radius);
        builder.line_to(x, y + radius);
        builder.quad_to(x, y, x + radius, y);
        builder.close();
        if let Some(path) = builder.finish() {
            self.pixels.fill_path(&path, &paint(fill), FillRule::Winding, scale(), None);
            let stroke = Stroke { width: 1.0, ..Stroke::default() };
            self.pixels.stroke_path(&path, &paint(outline), &stroke, scale(), None);
        }
    }

    pub fn circle(&mut self, (x, y): (f32, f32), radius: f32, fill: Rgb) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.pixels.fill_path(&path, &paint(fill), FillRule::Winding, scale(), None);
        }
    }

    /// One line of text whose baseline runs through `y`.
    pub fn text(&mut self, (x, y): (f32, f32), anchor: Anchor, size: f32, colour: Rgb, text: &str) {
        let shift = match anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => text_width(size, text) / 2.0,
            Anchor::End => text_width(size, text),
        };
        let (outline, factor) = (typeface(), size / f32::from(typeface().units_per_em()));
        let mut glyphs = Outline { path: PathBuilder::new(), at: (x - shift, y), factor };
        for c in text.chars() {
            let glyph = outline.glyph_index(c).unwrap_or_default();
            outline.outline_glyph(glyph, &mut glyphs);
            glyphs.at.0 += f32::from(outline.glyph_hor_advance(glyph).unwrap_or(0)) * factor;
        }
        if let Some(path) = glyphs.path.finish() {
            self.pixels.fill_path(&path, &paint(colour), FillRule::Winding, scale(), None);
        }
    }
}

/// The straight lines from point to point.
fn through(points: &[(f32, f32)]) -> PathBuilder {
    let mut builder = PathBuilder::new();
    for (index, &(x, y)) in points.iter().enumerate() {
        if index == 0 { builder.move_to(x, y) } else { builder.line_to(x, y) }
    }
    builder
}

/// How wide a text of this size is.
pub fn text_width(size: f32, text: &str) -> f32 {
    let face = typeface();
    let advance = |c| face.glyph_hor_advance(face.glyph_index(c).unwrap_or_default()).unwrap_or(0);
    text.chars().map(|c| f32::from(advance(c))).sum::<f32>() * size / f32::from(face.units_per_em())
}

fn typeface() -> ttf_parser::Face<'static> {
    ttf_parser::Face::parse(epaint_default_fonts::UBUNTU_LIGHT, 0)
        .expect("the typeface that comes with this program is sound")
}

fn paint(colour: Rgb) -> Paint<'static> {
    let [_, red, green, blue] = colour.to_be_bytes();
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn scale() -> Transform {
    Transform::from_scale(PIXELS_PER_POINT, PIXELS_PER_POINT)
}

/// Collects the outlines of glyphs, which grow upwards from the baseline, into a path.
struct Outline {
    path: PathBuilder,
    at: (f32, f32),
    factor: f32,
}

impl Outline {
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        (self.at.0 + x * self.factor, self.at.1 - y * self.factor)
    }
}

impl ttf_parser::OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.place(x1, y1), self.place(x2, y2), self.place(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn_where_it_is_anchored() {
        let ink = |anchor| {
            let mut picture = Picture::new(200.0, 40.0);
            picture.text((100.0, 25.0), anchor, 12.0, 0x000000, "lazuli");
            let width = picture.pixels.width();
            let dark = picture.pixels.pixels().iter().enumerate().filter(|(_, pixel)| pixel.red() < 128);
            let columns: Vec<_> = dark.map(|(index, _)| (index as u32 % width) as f32 / PIXELS_PER_POINT).collect();
            (columns.iter().copied().fold(f32::MAX, f32::min), columns.iter().copied().fold(0.0, f32::max))
        };
        let width = text_width(12.0, "lazuli");
        for (anchor, start) in
            [(Anchor::Start, 100.0), (Anchor::Middle, 100.0 - width / 2.0), (Anchor::End, 100.0 - width)]
        {
            let (left, right) = ink(anchor);
            assert!((left - start).abs() < 3.0 && (right - start - width).abs() < 3.0, "{anchor:?}: {left} to {right}");
        }
    }
}
