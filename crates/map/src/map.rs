//! What a picture shows.

use crate::groups::{Group, Groups};
use crate::placement::Placement;

/// What a picture shows: [`Map::svg`] and [`Map::html`] draw it.
#[derive(Clone, PartialEq, Debug)]
pub struct Map {
    /// What stands above it.
    pub title: String,
    /// Where the vectors come from: the model, the task.
    pub about: String,
    /// Where each row stands.
    pub placement: Placement,
    /// Which rows are drawn alike.
    pub groups: Groups,
    /// The text of each row, shown when it is pointed at: `[rows]`
    pub texts: Vec<String>,
}

impl Map {
    /// What stands below the title.
    pub(crate) fn subtitle(&self) -> String {
        let about = if self.about.is_empty() { String::new() } else { format!("{}; ", self.about) };
        format!("{about}{} texts; {}", self.texts.len(), self.placement.method)
    }

    /// Where the number of each group stands: at its point that is nearest to the middle of its points. What has no
    /// group of its own has no number. `[groups]`
    pub(crate) fn group_places(&self) -> Vec<Option<[f32; 2]>> {
        let mut points: Vec<Vec<[f32; 2]>> = vec![Vec::new(); self.groups.all.len()];
        for (group, point) in self.groups.of_rows.iter().zip(&self.placement.points) {
            if let Some(points) = points.get_mut(*group) {
                points.push(*point);
            }
        }
        let place =
            |(group, points): (&Group, Vec<[f32; 2]>)| if group.is_own() { middle(points) } else { None };
        self.groups.all.iter().zip(points).map(place).collect()
    }
}

/// The point nearest to where half of all points are to the left and half above.
fn middle(points: Vec<[f32; 2]>) -> Option<[f32; 2]> {
    let median = |i: usize| {
        let mut places: Vec<f32> = points.iter().map(|point| point[i]).collect();
        places.sort_unstable_by(f32::total_cmp);
        places.get(places.len() / 2).copied()
    };
    let (x, y) = (median(0)?, median(1)?);
    let away = |point: &[f32; 2]| (point[0] - x).powi(2) + (point[1] - y).powi(2);
    points.iter().copied().min_by(|a, b| away(a).total_cmp(&away(b)))
}
