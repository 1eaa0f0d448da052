//! How charts are drawn: SVG that is readable on a light and on a dark page.
//!
//! Text and axes have the page's own colour, by `currentColor` and a style that knows both themes. A map has the same colour in
//! every chart; those of one family have colours that are alike, and ours are blue and stand out.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::gate::OURS;
use crate::peers;
use crate::store::Kind;
use crate::summary::figures;

/// Stands for the page's colour until the drawing is done.
pub(super) const INK: RGBColor = RGBColor(1, 2, 3);
const INK_AS_TEXT: &str = "#010203";

pub(super) const WIDTH: u32 = 860;
/// Where a chart begins, below its title.
pub(super) const TOP: i32 = 62;

/// The colour of each map.
const COLOURS: [(&str, RGBColor); 26] = [
    ("shadow", RGBColor(9, 105, 255)),
    ("shadow-by-id", RGBColor(84, 160, 255)),
    ("shadow_epoch", RGBColor(0, 90, 180)),
    ("shadow_seize", RGBColor(80, 120, 200)),
    ("shadow_eras", RGBColor(130, 150, 220)),
    ("papaya", RGBColor(240, 120, 0)),
    ("scc_map", RGBColor(30, 140, 60)),
    ("scc_map-in-place", RGBColor(110, 185, 120)),
    ("scc_index", RGBColor(90, 130, 0)),
    ("scc_index-in-place", RGBColor(155, 185, 60)),
    ("dashmap", RGBColor(135, 60, 200)),
    ("dashmap-in-place", RGBColor(185, 130, 230)),
    ("dashmap7", RGBColor(190, 40, 150)),
    ("dashmap7-in-place", RGBColor(225, 115, 195)),
    ("flurry", RGBColor(150, 100, 40)),
    ("leapfrog", RGBColor(0, 150, 150)),
    ("rwlock", RGBColor(205, 45, 45)),
    ("rwlock-in-place", RGBColor(240, 125, 120)),
    ("skipmap", RGBColor(100, 75, 60)),
    ("urcu", RGBColor(190, 150, 0)),
    ("tbb", RGBColor(215, 185, 70)),
    ("boost_flat", RGBColor(95, 175, 180)),
    ("boost_node", RGBColor(60, 120, 130)),
    ("kernel", RGBColor(120, 125, 135)),
    ("nosync", RGBColor(165, 170, 180)),
    ("other", RGBColor(140, 140, 140)),
];

/// Returns the colour of a map, the same in every chart.
pub(crate) fn colour(map: &str) -> RGBColor {
    let known = COLOURS.iter().find(|(name, _)| *name == map);
    known.map_or(COLOURS[COLOURS.len() - 1].1, |&(_, colour)| colour)
}

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Drawn = Result<(), Box<dyn Error>>;
pub(super) type Svg = Result<String, Box<dyn Error>>;

/// What stands above a chart.
pub(super) struct Caption<'c> {
    pub(super) title: &'c str,
    /// The machine, the commit and the day.
    pub(super) source: &'c str,
}

/// One map's values, one for each place on the x axis where it has one.
pub(super) struct Series {
    pub(super) map: &'static str,
    pub(super) values: Vec<Option<f64>>,
}

impl Series {
    /// The runs of neighbouring places that have values: lines lead from one to the next, and not across a gap.
    pub(super) fn pieces(&self) -> Vec<Vec<(usize, f64)>> {
        let mut pieces = vec![Vec::new()];
        for (at, value) in self.values.iter().enumerate() {
            match value {
                Some(value) => pieces.last_mut().expect("there is always one").push((at, *value)),
                None => pieces.push(Vec::new()),
            }
        }
        pieces.retain(|piece| !piece.is_empty());
        pieces
    }

    fn end(&self) -> f64 {
        self.values.iter().rev().flatten().next().copied().unwrap_or(0.0)
    }
}

/// One of the plots that stand beside each other in a chart of lines.
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) labels: Vec<String>,
    pub(super) series: Vec<Series>,
}

/// From values to pixels along one axis.
pub(super) struct Axis {
    least: f64,
    most: f64,
    is_log: bool,
    from: i32,
    to: i32,
}

impl Axis {
    /// From the pixel `from` for `least` to the pixel `to` for `most`.
    pub(super) fn new(least: f64, most: f64, is_log: bool, (from, to): (i32, i32)) -> Self {
        Self {
            least,
            most: if most > least { most } else { least + 1.0 },
            is_log,
            from,
            to,
        }
    }

    pub(super) fn place(&self, value: f64) -> i32 {
        let part = if self.is_log {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        self.from + (part * f64::from(self.to - self.from)).round() as i32
    }

    /// Round values along the axis: 1, 2 and 5 of each power of ten if it is logarithmic, or only the powers if those are many.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            let powers = self.least.log10().floor() as i32..=self.most.log10().ceil() as i32;
            let steps: &[f64] = if (self.most / self.least).log10() > 3.5 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
            return all
                .filter(|&tick| tick >= self.least * 0.999 && tick <= self.most * 1.001)
                .collect();
        }
        let rough = (self.most - self.least) / 6.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|step| step * power)
            .into_iter()
            .find(|&step| step >= rough);
        let step = step.unwrap_or(10.0 * power);
        let first = (self.least / step).ceil() as i64;
        let last = (self.most / step).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }
}

/// The number at a tick, without zeros that say nothing.
pub(super) fn tick(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Whether a map is one of ours, which stand out.
pub(super) fn is_ours(map: &str) -> bool {
    peers::about(map).is_some_and(|about| about.kind == Kind::Ours)
}

fn width(map: &str) -> u32 {
    if map == OURS { 4 } else { 2 }
}

/// Draws lines over named places, on one axis for all panels: a logarithmic one, if the values are far apart.
pub(super) fn lines(caption: &Caption<'_>, x: &str, unit: &str, panels: &[Panel]) -> Svg {
    const LEGEND: i32 = 165;
    const HEIGHT: i32 = 460;
    const BOTTOM: i32 = HEIGHT - 48;
    let values = || {
        panels
            .iter()
            .flat_map(|panel| &panel.series)
            .flat_map(|series| series.values.iter().flatten())
    };
    let least = values().copied().fold(f64::INFINITY, f64::min);
    let most = values().copied().fold(0.0, f64::max);
    let is_log = most > 5.0 * least;
    let y = match is_log {
        true => Axis::new(least * 0.85, most * 1.15, true, (BOTTOM, TOP + 18)),
        false => Axis::new(0.0, most * 1.08, false, (BOTTOM, TOP + 18)),
    };
    let step = (WIDTH as i32 - LEGEND) / panels.len().max(1) as i32;
    draw(HEIGHT as u32, caption, |root| {
        for (number, panel) in panels.iter().enumerate() {
            let (from, to) = (number as i32 * step + 58, (number as i32 + 1) * step - 14);
            text(root, &panel.title, ((from + to) / 2, TOP + 4), 13, HPos::Center)?;
            for value in y.ticks() {
                let at = y.place(value);
                root.draw(&PathElement::new([(from, at), (to, at)], INK.mix(0.15).stroke_width(1)))?;
                text(root, &tick(value), (from - 6, at), 11, HPos::Right)?;
            }
            let last = panel.labels.len().saturating_sub(1).max(1) as f64;
            let across = Axis::new(-0.08 * last, 1.08 * last, false, (from, to));
            root.draw(&PathElement::new(
                [(from, BOTTOM), (to, BOTTOM)],
                INK.mix(0.7).stroke_width(1),
            ))?;
            root.draw(&PathElement::new(
                [(from, TOP + 18), (from, BOTTOM)],
                INK.mix(0.7).stroke_width(1),
            ))?;
            for (at, label) in panel.labels.iter().enumerate().filter(|(_, label)| !label.is_empty()) {
                let at = across.place(at as f64);
                root.draw(&PathElement::new(
                    [(at, BOTTOM), (at, BOTTOM + 4)],
                    INK.mix(0.7).stroke_width(1),
                ))?;
                text(root, label, (at, BOTTOM + 13), 11, HPos::Center)?;
            }
            text(root, x, ((from + to) / 2, BOTTOM + 32), 12, HPos::Center)?;
            // Ours last, so that no other line covers it.
            let mut order: Vec<&Series> = panel.series.iter().collect();
            order.sort_by_key(|series| series.map == OURS);
            for series in order {
                let colour = colour(series.map);
                for piece in series.pieces() {
                    let points: Vec<(i32, i32)> = piece
                        .iter()
                        .map(|&(at, value)| (across.place(at as f64), y.place(value)))
                        .collect();
                    let radius = if series.map == OURS { 5 } else { 3 };
                    for &point in &points {
                        root.draw(&Circle::new(point, radius, colour.filled()))?;
                    }
                    root.draw(&PathElement::new(points, colour.stroke_width(width(series.map))))?;
                }
            }
        }
        let scale = if is_log { " (logarithmic axis)" } else { "" };
        text(root, &format!("{unit}{scale}"), (8, TOP - 12), 12, HPos::Left)?;
        // The legend is in the order in which the lines end, those of the last panel first.
        let mut maps: Vec<(f64, &str)> = Vec::new();
        for series in panels.iter().rev().flat_map(|panel| &panel.series) {
            if !maps.iter().any(|(_, map)| *map == series.map) {
                maps.push((series.end(), series.map));
            }
        }
        maps.sort_by(|a, b| b.0.total_cmp(&a.0));
        let row = (BOTTOM - TOP) / maps.len().max(17) as i32;
        let left = WIDTH as i32 - LEGEND + 6;
        for (number, (_, map)) in maps.into_iter().enumerate() {
            let y = TOP + 8 + row * number as i32;
            let style = colour(map).stroke_width(width(map));
            root.draw(&PathElement::new([(left, y), (left + 20, y)], style))?;
            name(root, map, (left + 26, y), HPos::Left)?;
        }
        Ok(())
    })
}

/// Draws a bar for each map with its value, the shortest first; or, on a logarithmic axis, which has no zero that a bar could begin
/// at, a dot.
pub(super) fn bars(caption: &Caption<'_>, unit: &str, series: &[Series], is_log: bool) -> Svg {
    const NAMES: i32 = 150;
    const ROW: i32 = 22;
    let mut rows: Vec<(&str, f64)> = series
        .iter()
        .filter_map(|series| Some((series.map, series.values[0]?)))
        .collect();
    rows.sort_by(|a, b| a.1.total_cmp(&b.1));
    let most = rows.last().map_or(1.0, |row| row.1);
    let least = if is_log {
        rows.first().map_or(1.0, |row| row.1) * 0.8
    } else {
        0.0
    };
    let axis = Axis::new(least, most * 1.02, is_log, (NAMES + 10, WIDTH as i32 - 70));
    let bottom = TOP + ROW * rows.len() as i32 + 4;
    draw((bottom + 44) as u32, caption, |root| {
        for value in axis.ticks() {
            let at = axis.place(value);
            root.draw(&PathElement::new(
                [(at, TOP - 4), (at, bottom)],
                INK.mix(0.15).stroke_width(1),
            ))?;
            text(root, &tick(value), (at, bottom + 12), 11, HPos::Center)?;
        }
        let scale = if is_log { " (logarithmic axis)" } else { "" };
        let middle = (NAMES + WIDTH as i32 - 60) / 2;
        text(
            root,
            &format!("{unit}{scale}; ours are outlined"),
            (middle, bottom + 30),
            12,
            HPos::Center,
        )?;
        for (row, &(map, value)) in rows.iter().enumerate() {
            let y = TOP + ROW * row as i32 + 2;
            let middle = y + 8;
            name(root, map, (NAMES, middle), HPos::Right)?;
            let end = axis.place(value);
            if is_log {
                root.draw(&Circle::new((end, middle), 6, colour(map).filled()))?;
                if is_ours(map) {
                    root.draw(&Circle::new((end, middle), 8, INK.stroke_width(2)))?;
                }
            } else {
                let bar = [(axis.place(0.0), y), (end, y + 16)];
                root.draw(&Rectangle::new(bar, colour(map).filled()))?;
                if is_ours(map) {
                    root.draw(&Rectangle::new(bar, INK.stroke_width(2)))?;
                }
            }
            text(root, &figures(value), (end + 12, middle), 11, HPos::Left)?;
        }
        root.draw(&PathElement::new(
            [(NAMES + 10, TOP - 4), (NAMES + 10, bottom)],
            INK.mix(0.7).stroke_width(1),
        ))?;
        Ok(())
    })
}

/// Writes the name of a map: ours in bold.
pub(super) fn name(root: &Area<'_>, map: &str, at: (i32, i32), side: HPos) -> Drawn {
    let style = if is_ours(map) {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    let font = FontDesc::new(FontFamily::SansSerif, 12.0, style);
    let style = TextStyle::from(font).color(&INK).pos(Pos::new(side, VPos::Center));
    root.draw(&Text::new(map.to_owned(), at, style))?;
    Ok(())
}

pub(super) fn text(root: &Area<'_>, text: &str, at: (i32, i32), size: u32, side: HPos) -> Drawn {
    let style: TextStyle<'_> = ("sans-serif", size).into_font().color(&INK);
    root.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(side, VPos::Center))))?;
    Ok(())
}

/// Draws with a caption, and gives the drawing the page's colour.
pub(super) fn draw(height: u32, caption: &Caption<'_>, work: impl FnOnce(&Area<'_>) -> Drawn) -> Svg {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        text(&root, caption.title, (8, 14), 15, HPos::Left)?;
        text(&root, caption.source, (8, 32), 11, HPos::Left)?;
        work(&root)?;
        root.present()?;
    }
    let style = "<style>svg{color:#24292f}@media(prefers-color-scheme:dark){svg{color:#d0d7de}}</style>";
    let svg = svg.replace(INK_AS_TEXT, "currentColor");
    let head = svg.find('>').ok_or("a drawing without a head")?;
    // The first tag may be a declaration; the style goes into the drawing.
    let head = svg
        .find("<svg")
        .and_then(|at| svg[at..].find('>').map(|end| at + end))
        .unwrap_or(head);
    Ok(format!("{}\n{style}{}", &svg[..=head], &svg[head + 1..]))
}
