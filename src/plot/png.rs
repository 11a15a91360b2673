//! The same pictures as pixels, for places that show no SVG. Text needs a font of the system.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use super::{PlotError, failed};

/// Pixels per unit of the SVG.
const SCALE: u8 = 2;

/// Families that are looked for first; without any of them the first font there is.
const FAMILIES: [&str; 6] = [
    "DejaVu Sans",
    "Liberation Sans",
    "Noto Sans",
    "Arial",
    "Helvetica",
    "Ubuntu",
];

/// The fonts that text is drawn with.
#[derive(Debug)]
pub struct Fonts(fontdb::Database);

impl Fonts {
    /// The fonts of this machine.
    ///
    /// # Errors
    /// When it has none.
    pub fn of_system() -> Result<Self, PlotError> {
        let mut fonts = fontdb::Database::new();
        fonts.load_system_fonts();
        Self::of(fonts)
    }

    fn of(mut fonts: fontdb::Database) -> Result<Self, PlotError> {
        let families = || fonts.faces().filter_map(|face| face.families.first());
        let is_there = |wanted: &&&str| families().any(|(name, _)| name == **wanted);
        let preferred = FAMILIES.iter().find(is_there).map(|&name| name.to_owned());
        let family = preferred.or_else(|| families().next().map(|(name, _)| name.clone()));
        let Some(family) = family else {
            let reason = "this machine has no font to write with: install one (DejaVu Sans, say), \
                          or name a file that ends in .svg";
            return Err(failed(reason));
        };
        fonts.set_sans_serif_family(family);
        Ok(Self(fonts))
    }
}

/// `svg`, as [`super::svg`] drew it, as a PNG file.
///
/// # Errors
/// When there is no memory for the pixels.
pub fn png(svg: &str, fonts: &Fonts) -> Result<Vec<u8>, PlotError> {
    let mut options = Options::default();
    *options.fontdb_mut() = fonts.0.clone();
    let tree = Tree::from_str(svg, &options).map_err(failed)?;
    let scale = f32::from(SCALE);
    let size = tree.size().to_int_size();
    let [width, height] = [size.width(), size.height()].map(|side| side * u32::from(SCALE));
    let pixels = Pixmap::new(width, height);
    let mut pixels =
        pixels.ok_or_else(|| failed(format!("{width} x {height} pixels are too many")))?;
    let transform = Transform::from_scale(scale, scale);
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels.encode_png().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_font_the_remedy_is_told() {
        let error = Fonts::of(fontdb::Database::new()).unwrap_err().to_string();
        assert!(
            error.contains("no font") && error.contains(".svg"),
            "{error}"
        );
    }

    #[test]
    fn what_is_drawn_is_there_in_pixels() {
        // No text, so that any font, or an empty family, will do.
        let mut fonts = fontdb::Database::new();
        fonts.set_sans_serif_family("none");
        let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2">
            <rect width="1" height="2" fill="#ff0000"/></svg>"##;
        let bytes = png(svg, &Fonts(fonts)).unwrap();
        let pixels = Pixmap::decode_png(&bytes).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (6, 4));
        let color = |x, y| {
            let pixel = pixels.pixel(x, y).unwrap();
            (pixel.red(), pixel.alpha())
        };
        assert_eq!((color(1, 3), color(2, 0)), ((255, 255), (0, 0)));
    }
}
