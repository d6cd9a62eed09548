//! Finding somebody by name in a report: as a person of it, and in its texts.

use super::names::{Names, identity};
use crate::person::Person;
use crate::view::ReportView;

/// The people of a report who have this name, in whatever order, case and spelling of the neighbouring
/// languages.
pub fn people_named<'a>(view: &'a ReportView, name: &str) -> Vec<&'a Person> {
    let wanted = identity(name);
    let has = |spelling: &String| identity(spelling) == wanted;
    view.people.iter().filter(|person| has(&person.name) || person.also_spelled.iter().any(has)).collect()
}

/// Whether the name stands in any text of a report.
pub fn mentions(view: &ReportView, name: &str) -> bool {
    let mut names = Names::default();
    names.protect(0, name);
    let mut text = String::new();
    super::strings(&serde_json::to_value(view).unwrap_or_default(), &mut text);
    text.lines().any(|line| !names.find(line).is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ReportDocument, ReportInput};

    fn view(json: &str) -> ReportView {
        let input = ReportInput::from_json(json).unwrap();
        let mut number = 0;
        let mut ids = || {
            number += 1;
            format!("{number:08x}")
        };
        ReportDocument::create([1; 16], &input, &mut ids, 0).unwrap().view()
    }

    #[test]
    fn somebody_is_found_in_any_order_and_script_and_nobody_else_is() {
        let view = view(
            r#"{"template":"detention","language":"ru","narrative":"Видели Алену Ковалеву у входа.",
                "people":[{"role":"victim","name":"Ковалева Алена"},{"role":"witness","name":"Алена Иванова"},
                          {"role":"witness","name":"X","also_spelled":["Alena Kovaleva"]}]}"#,
        );
        let found: Vec<&str> =
            people_named(&view, "алена ковалева").iter().map(|person| person.name.as_str()).collect();
        assert_eq!(found, ["Ковалева Алена", "X"]);
        assert!(people_named(&view, "Алена").is_empty(), "a part of a name is not a name");
        assert!(mentions(&view, "Алена Ковалева"));
        assert!(!mentions(&view, "Пётр Сидоров"));
    }
}
