//! The map as one HTML file.

use crate::map::Map;
use crate::svg::cut;
use serde_json::{Value, json};

/// The page, with a place for the data.
const PAGE: &str = include_str!("page.html");
const PLACE: &str = "/*DATA*/null";

/// Characters of a text that is shown when it is pointed at.
const SHOWN: usize = 600;

impl Map {
    /// The map as one HTML file, which loads nothing: points say their texts, groups can be hidden, texts can be looked for,
    /// and the picture can be moved and enlarged.
    pub fn html(&self) -> String {
        PAGE.replacen(PLACE, &in_script(&self.data()), 1)
    }

    fn data(&self) -> Value {
        let rounded = |place: f32| (f64::from(place) * 1e4).round() / 1e4;
        let groups: Vec<Value> = self
            .groups
            .all
            .iter()
            .zip(self.group_places())
            .map(|(group, place)| {
                json!({
                    "name": cut(&group.name, SHOWN), "rows": group.rows, "colour": group.colour, "form": group.form.name(),
                    "place": place.map(|place| place.map(rounded)),
                })
            })
            .collect();
        json!({
            "title": self.title,
            "subtitle": self.subtitle(),
            "axes": self.placement.axes,
            "x": self.placement.points.iter().map(|point| rounded(point[0])).collect::<Vec<_>>(),
            "y": self.placement.points.iter().map(|point| rounded(point[1])).collect::<Vec<_>>(),
            "group": self.groups.of_rows,
            "texts": self.texts.iter().map(|text| cut(text, SHOWN)).collect::<Vec<_>>(),
            "groups": groups,
        })
    }
}

/// JSON that may stand in a script: no `<` ends it, and no line separator breaks a string of old JavaScript.
fn in_script(data: &Value) -> String {
    data.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Groups, Placement};

    #[test]
    fn texts_cannot_leave_the_script() {
        let text = "</script><script>alert(1)</script> \u{2028} /*DATA*/null";
        let map = Map {
            title: text.to_owned(),
            about: String::new(),
            placement: Placement {
                points: vec![[0.25, -0.123456]],
                axes: [String::new(), String::new()],
                method: "by hand".to_owned(),
            },
            groups: Groups::of_labels(&[Some(text)]),
            texts: vec![text.to_owned()],
        };
        let page = map.html();
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        assert!(!page.contains('\u{2028}'));
        let start = page.find("const DATA = ").unwrap() + "const DATA = ".len();
        let end = start + page[start..].find(";\n").unwrap();
        let data: Value = serde_json::from_str(&page[start..end]).unwrap();
        assert_eq!(data["title"], text);
        assert_eq!((&data["x"], &data["y"]), (&json!([0.25]), &json!([-0.1235])));
        assert_eq!(data["groups"][0]["rows"], 1);
    }

    #[test]
    fn the_page_loads_nothing() {
        for word in ["http:", "https:", "src=", "import", "fetch(", "@font-face", "url("] {
            assert!(!PAGE.contains(word), "{word}");
        }
        assert_eq!(PAGE.matches(PLACE).count(), 1);
    }
}
