//! `fieldbook templates`

use clap::Args;
use fieldbook_report::Language;
use fieldbook_report::template::{self, Template};
use serde_json::json;

use crate::error::Failure;
use crate::global::Global;

/// List the kinds of reports, or the fields of one.
#[derive(Debug, Args)]
pub struct TemplatesArgs {
    /// The kind
    name: Option<String>,
}

pub fn run(args: TemplatesArgs, global: &Global) -> Result<(), Failure> {
    let Some(name) = args.name else {
        for template in template::builtin().iter().filter(|template| template.offered) {
            global.ui.emit(json!({
                "name": template.name, "version": template.version,
                "label": template.labels.get(Language::English),
            }))?;
            global.ui.say(format_args!(
                "{:16}  {}",
                template.name,
                template.labels.get(Language::English)
            ))?;
        }
        return Ok(());
    };
    let template = template::find(&name).ok_or_else(|| {
        Failure::usage("input", format!("there is no template \"{}\"", crate::sanitise::line(&name)))
            .hint("`fieldbook templates` lists them")
    })?;
    fields(template, global)
}

fn fields(template: &Template, global: &Global) -> Result<(), Failure> {
    for field in &template.fields {
        let choices: Vec<&str> = field.choices.iter().map(|choice| choice.value.as_str()).collect();
        global.ui.emit(json!({
            "template": template.name, "name": field.name, "expects": field.kind.expected(),
            "label": field.labels.get(Language::English), "required": field.required,
            "identifying": field.identifying, "choices": choices, "precision_of": field.precision_of,
        }))?;
        let mut marks = Vec::new();
        if field.required {
            marks.push("required");
        }
        if field.identifying {
            marks.push("not published");
        }
        let marks = if marks.is_empty() { String::new() } else { format!(" [{}]", marks.join(", ")) };
        global.ui.say(format_args!(
            "{:26}  {}; {}{marks}",
            field.name,
            field.labels.get(Language::English),
            field.kind.expected()
        ))?;
        if !choices.is_empty() {
            global.ui.say(format_args!("{:28}for example: {}", "", choices.join(", ")))?;
        }
    }
    Ok(())
}
