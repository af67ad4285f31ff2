//! Which rows share a colour and a form.

use std::collections::HashMap;

/// Paul Tol's "bright" scheme, told apart by all kinds of colour vision (personal.sron.nl/~pault). Grey is left for
/// what has no group of its own.
const COLOURS: [&str; 6] = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377"];
const GREY: &str = "#999999";

/// Forms, so that there are more groups than colours, and groups without colours.
const FORMS: [Form; 3] = [Form::Circle, Form::Triangle, Form::Square];

/// The most groups of their own.
const MOST: usize = COLOURS.len() * FORMS.len();

/// How a point is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    Circle,
    Triangle,
    Square,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Form::Circle => "circle",
            Form::Triangle => "triangle",
            Form::Square => "square",
        }
    }
}

/// Rows that are drawn alike.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    /// What the legend says.
    pub name: String,
    /// How many rows it has.
    pub rows: usize,
    pub(crate) colour: &'static str,
    pub(crate) form: Form,
}

impl Group {
    /// Whether it is one group, and not all that is left.
    pub(crate) fn is_own(&self) -> bool {
        self.colour != GREY
    }
}

/// The groups of all rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Groups {
    /// The group of each row: `[rows]`
    pub of_rows: Vec<usize>,
    /// The groups, the largest first; what has no group of its own is the last.
    pub all: Vec<Group>,
}

impl Groups {
    /// Rows of one label together. The 18 most frequent labels have a group each, the others share one, and so do rows
    /// without a label.
    pub fn of_labels<S: AsRef<str>>(labels: &[Option<S>]) -> Groups {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        for (row, label) in labels.iter().enumerate() {
            if let Some(label) = label {
                counts.entry(label.as_ref()).or_insert((0, row)).0 += 1;
            }
        }
        let mut order: Vec<(&str, usize, usize)> =
            counts.into_iter().map(|(label, (count, first))| (label, count, first)).collect();
        order.sort_by_key(|(_, count, first)| (std::cmp::Reverse(*count), *first));
        let others = order.split_off(order.len().min(MOST));
        let mut all: Vec<Group> = Vec::new();
        order.iter().for_each(|(label, count, _)| all.push(group((*label).to_owned(), *count, all.len())));
        let place: HashMap<&str, usize> =
            order.iter().enumerate().map(|(i, (label, ..))| (*label, i)).collect();
        let mut grey = |name: String, rows: usize, form: Form| {
            (rows > 0).then(|| {
                all.push(Group { name, rows, colour: GREY, form });
                all.len() - 1
            })
        };
        let of_others = grey(
            format!("{} other labels", others.len()),
            others.iter().map(|(_, count, _)| count).sum(),
            Form::Circle,
        );
        let without = labels.iter().filter(|label| label.is_none()).count();
        let without = grey("without a label".to_owned(), without, Form::Triangle);
        let of_row = |label: &Option<S>| match label {
            Some(label) => place.get(label.as_ref()).copied().or(of_others),
            None => without,
        };
        let of_rows = labels.iter().map(|label| of_row(label).unwrap_or_default()).collect();
        Groups { of_rows, all }
    }

    /// Rows of one cluster together, in the order of [`clusters`](crate::clusters()), each with a name. Clusters beyond the
    /// 18th share a group.
    pub fn of_clusters(of_rows: &[usize], names: Vec<String>) -> Groups {
        let mut sizes = vec![0; names.len().max(of_rows.iter().max().map_or(0, |most| most + 1))];
        of_rows.iter().for_each(|cluster| sizes[*cluster] += 1);
        let own = sizes.len().min(MOST);
        let named = names.into_iter().chain(std::iter::repeat_with(String::new));
        let mut all: Vec<Group> = sizes[..own]
            .iter()
            .zip(named)
            .enumerate()
            .map(|(i, (rows, name))| group(name, *rows, i))
            .collect();
        let others = &sizes[own..];
        if !others.is_empty() {
            let name = format!("{} other clusters", others.len());
            all.push(Group { name, rows: others.iter().sum(), colour: GREY, form: Form::Circle });
        }
        Groups { of_rows: of_rows.iter().map(|cluster| (*cluster).min(own)).collect(), all }
    }
}

fn group(name: String, rows: usize, place: usize) -> Group {
    let (colour, form) = (COLOURS[place % COLOURS.len()], FORMS[place / COLOURS.len() % FORMS.len()]);
    Group { name, rows, colour, form }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_labels_have_groups_of_their_own() {
        let mut labels: Vec<Option<String>> = vec![None, Some("rare".into()), None];
        for i in 0..20 {
            labels.extend((0..30 - i).map(|_| Some(format!("label {i}"))));
        }
        let groups = Groups::of_labels(&labels);
        let names: Vec<(&str, usize)> =
            groups.all.iter().map(|group| (&group.name[..], group.rows)).collect();
        assert_eq!(names[..2], [("label 0", 30), ("label 1", 29)]);
        assert_eq!(names[17..], [("label 17", 13), ("3 other labels", 24), ("without a label", 2)]);
        assert_eq!(groups.of_rows[..4], [19, 18, 19, 0]);
        assert_eq!(groups.of_rows.len(), labels.len());
        let looks: std::collections::HashSet<_> =
            groups.all.iter().map(|group| (group.colour, group.form.name())).collect();
        assert_eq!(looks.len(), groups.all.len(), "no two groups look alike");
    }

    #[test]
    fn clusters_keep_their_order_and_names() {
        let groups = Groups::of_clusters(&[0, 1, 0], vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            groups.all.iter().map(|group| (&group.name[..], group.rows)).collect::<Vec<_>>(),
            [("a", 2), ("b", 1)]
        );
        let many: Vec<usize> = (0..25).collect();
        let groups = Groups::of_clusters(&many, vec![String::new(); 25]);
        assert_eq!((groups.all.len(), groups.of_rows[24], groups.all[18].rows), (19, 18, 7));
        assert_eq!(Groups::of_labels::<&str>(&[]).all, []);
    }
}
