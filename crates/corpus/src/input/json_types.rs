//! The types of JSON values' columns, from all rows.

use arrow_schema::{DataType, Field, Fields};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the values of a column are so far.
#[derive(Clone, PartialEq, Default, Debug)]
pub(super) enum Shape {
    /// Nothing but null.
    #[default]
    Null,
    Bool,
    Int,
    Float,
    Text,
    List(Box<Shape>),
    Object(BTreeMap<String, Shape>),
    /// Of several kinds: written as JSON text.
    Mixed,
}

impl Shape {
    /// Takes a value in.
    pub(super) fn add(&mut self, value: &Value) {
        let found = match value {
            Value::Null => return,
            Value::Bool(_) => Shape::Bool,
            Value::Number(number) if number.is_i64() => Shape::Int,
            // What fits neither 64-bit integers nor their doubles exactly stays as it is written.
            Value::Number(number) if number.is_u64() => Shape::Mixed,
            Value::Number(_) => Shape::Float,
            Value::String(_) => Shape::Text,
            Value::Array(values) => {
                let mut inner = match std::mem::take(self) {
                    Shape::Null => Shape::Null,
                    Shape::List(inner) => *inner,
                    _ => return *self = Shape::Mixed,
                };
                values.iter().for_each(|value| inner.add(value));
                return *self = Shape::List(Box::new(inner));
            }
            Value::Object(members) => {
                let mut inner = match std::mem::take(self) {
                    Shape::Null => BTreeMap::new(),
                    Shape::Object(inner) => inner,
                    _ => return *self = Shape::Mixed,
                };
                members.iter().for_each(|(name, value)| inner.entry(name.clone()).or_default().add(value));
                return *self = Shape::Object(inner);
            }
        };
        *self = match (std::mem::take(self), found) {
            (Shape::Null, found) => found,
            (before, found) if before == found => found,
            (Shape::Int | Shape::Float, Shape::Int | Shape::Float) => Shape::Float,
            _ => Shape::Mixed,
        };
    }

    /// Whether it or what it holds is of several kinds, or an object without members, which no table has.
    fn is_mixed(&self) -> bool {
        match self {
            Shape::Mixed => true,
            Shape::List(inner) => inner.is_mixed(),
            Shape::Object(members) => members.is_empty() || members.values().any(Shape::is_mixed),
            _ => false,
        }
    }

    /// The type of a column of them; text in JSON where they are mixed.
    pub(super) fn column_type(&self) -> DataType {
        if self.is_mixed() { DataType::Utf8 } else { self.data_type() }
    }

    fn data_type(&self) -> DataType {
        match self {
            Shape::Null | Shape::Text | Shape::Mixed => DataType::Utf8,
            Shape::Bool => DataType::Boolean,
            Shape::Int => DataType::Int64,
            Shape::Float => DataType::Float64,
            Shape::List(inner) => DataType::List(Arc::new(Field::new("item", inner.data_type(), true))),
            Shape::Object(members) => {
                let field = |(name, shape): (&String, &Shape)| Field::new(name, shape.data_type(), true);
                DataType::Struct(members.iter().map(field).collect::<Fields>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn type_of(values: &[Value]) -> DataType {
        let mut shape = Shape::default();
        values.iter().for_each(|value| shape.add(value));
        shape.column_type()
    }

    #[test]
    fn columns_have_the_type_of_all_their_values() {
        assert_eq!(type_of(&[json!(1), json!(null), json!(-3)]), DataType::Int64);
        assert_eq!(type_of(&[json!(1), json!(0.5)]), DataType::Float64);
        assert_eq!(type_of(&[json!(true)]), DataType::Boolean);
        assert_eq!(type_of(&[json!(null)]), DataType::Utf8);
        assert_eq!(type_of(&[json!("a"), json!(1)]), DataType::Utf8);
        assert_eq!(type_of(&[json!(u64::MAX)]), DataType::Utf8);
        assert_eq!(type_of(&[json!({"a": 1}), json!([1])]), DataType::Utf8);
        assert_eq!(type_of(&[json!({"a": [1]}), json!({"a": ["x"]})]), DataType::Utf8);
        assert_eq!(type_of(&[json!({})]), DataType::Utf8);
        let DataType::Struct(fields) = type_of(&[json!({"a": 1}), json!({"b": [0.5, 1]})]) else { panic!() };
        assert_eq!(fields.iter().map(|f| f.name().as_str()).collect::<Vec<_>>(), ["a", "b"]);
    }
}
