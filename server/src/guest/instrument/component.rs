//! The component: its core modules replaced, a keeper put before them, the accessor appended and lifted.

use super::accessor::{self, Accessor};
use super::survey::{Made, Survey};
use super::{ACCESS, Error, KEEPERS_MAX, Plan, Resource, STACK_SLOTS, adopt, dispose, grow, keeper, load, save};
use std::convert::Infallible;
use wasm_encoder::reencode::{self, Reencode, ReencodeComponent, component_utils};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentExportKind, ComponentExportSection,
    ComponentInstanceSection, ComponentSectionId, ComponentTypeSection, ComponentValType, ExportKind, InstanceSection,
    ModuleArg, ModuleSection, NestedComponentSection, PrimitiveValType, RawSection,
};
use wasmparser::{Instance, InstantiationArgKind, Parser};

/// The rewritten component, whose calls are counted or not, and what it offers. `wasm` is a component that has been
/// validated.
pub(crate) fn instrument(wasm: &[u8], counts_calls: bool) -> Result<(Vec<u8>, Plan), Error> {
    let survey = Survey::of(Parser::new(0), wasm, wasm, "", &[], counts_calls)?;
    let keepers = survey.keepers;
    if keepers > KEEPERS_MAX {
        return Err(Error::TooManyInstances { count: keepers });
    }
    // The components of a call chain are on the stack together, each with its own counter.
    let stack_slots = STACK_SLOTS / keepers.max(1);
    let component = Rewrite { survey: &survey, outer: Vec::new(), stack_slots, next_module: 0, next_component: 0 };
    let rewritten = component.rewrite(Parser::new(0), wasm, wasm)?.finish();
    let resources = survey.resources().into_iter().map(|(resource, _)| resource).collect();
    Ok((rewritten, Plan { resources, ..survey.plan() }))
}

/// Copies one component. The keeper comes first in the index spaces of core modules and of core instances, so all
/// others move up by one.
struct Rewrite<'a> {
    survey: &'a Survey,
    /// Whether the components around it have a keeper, the innermost last.
    outer: Vec<bool>,
    stack_slots: u32,
    next_module: usize,
    next_component: usize,
}

impl Rewrite<'_> {
    fn rewrite(mut self, parser: Parser, wasm: &[u8], whole: &[u8]) -> Result<Component, reencode::Error> {
        let mut out = Component::new();
        if self.survey.has_keeper() {
            out.section(&ModuleSection(&keeper::module(self.stack_slots, self.survey.globals())));
            let mut instances = InstanceSection::new();
            instances.instantiate(0, [] as [(&str, ModuleArg); 0]);
            out.section(&instances);
        }
        component_utils::parse_component(&mut self, &mut out, parser, wasm, whole)?;
        if self.survey.keepers > 0 {
            self.append_accessor(&mut out)?;
        }
        Ok(out)
    }

    /// By how much core modules and core instances move up.
    fn shift(&self) -> u32 {
        u32::from(self.survey.has_keeper())
    }

    /// Adds the accessor, if there is anything here to capture, and exports it together with those of the components
    /// that are instantiated here.
    fn append_accessor(&self, out: &mut Component) -> Result<(), reencode::Error> {
        let counts = &self.survey.counts;
        let mut exports = Exports { functions: counts.functions, instances: counts.instances, ..Exports::default() };
        let mut own = Own::default();
        if self.survey.has_keeper() {
            own.instance = self.instantiate_accessor(out)?;
            own.functions = counts.core_functions;
            own.types = counts.types;
            for (name, function) in [(save(0), accessor::SAVE), (load(0), accessor::LOAD)] {
                exports.lift(out, &mut own, name, function, None);
            }
            exports.accessors = 1;
        }
        for made in &self.survey.made {
            match made {
                Made::Core { module, .. } => {
                    for (_, ty) in &module.memories {
                        let value = if ty.memory64 { PrimitiveValType::S64 } else { PrimitiveValType::S32 };
                        let function = accessor::grow(own.memories);
                        own.memories += 1;
                        let name = grow(exports.memories);
                        exports.memories += 1;
                        exports.lift(out, &mut own, name, &function, Some(value));
                    }
                }
                Made::Nested { component, .. } if component.keepers == 0 => {}
                Made::Nested { component, instance } => exports.pass_on(out, *instance, &component.plan()),
            }
        }
        for (resource, ty) in self.resources() {
            exports.hold(out, &mut own, resource, ty);
        }
        exports.finish(out);
        Ok(())
    }

    /// Those whose handles this component takes from the host, with the indices of their types.
    fn resources(&self) -> Vec<(Resource, u32)> {
        if self.outer.is_empty() { self.survey.resources() } else { Vec::new() }
    }

    /// Adds the accessor; the index of its core instance.
    fn instantiate_accessor(&self, out: &mut Component) -> Result<u32, reencode::Error> {
        let mut accessor = Accessor::default();
        accessor.adopts = !self.resources().is_empty();
        let mut arguments = Vec::new();
        for made in &self.survey.made {
            let Made::Core { module, instance } = made else { continue };
            let name = instance.to_string();
            for (export, ty) in &module.globals {
                accessor.global(&name, export, *ty)?;
            }
            for (export, ty) in &module.memories {
                accessor.memory(&name, export, *ty)?;
            }
            if module.is_captured() {
                arguments.push((name, ModuleArg::Instance(instance + self.shift())));
            }
        }
        arguments.push((keeper::NAME.to_owned(), ModuleArg::Instance(0)));
        out.section(&ModuleSection(&accessor.finish()));
        let mut instances = InstanceSection::new();
        let module = self.survey.modules.len() as u32 + self.shift();
        instances.instantiate(module, arguments.iter().map(|(name, argument)| (name.as_str(), *argument)));
        out.section(&instances);
        Ok(self.survey.counts.core_instances + self.shift())
    }
}

/// The accessor of this component, as its functions are lifted.
#[derive(Default)]
struct Own {
    instance: u32,
    /// Indices of the next core function and the next type.
    functions: u32,
    types: u32,
    /// How many of its memories have been lifted.
    memories: usize,
}

/// What the component exports for the host.
#[derive(Default)]
struct Exports {
    /// Indices of the next component function and the next component instance.
    functions: u32,
    instances: u32,
    accessors: usize,
    memories: usize,
    items: Vec<(String, u32)>,
}

impl Exports {
    /// Lifts a function of the component's own accessor.
    fn lift(
        &mut self,
        out: &mut Component,
        own: &mut Own,
        name: String,
        function: &str,
        pages: Option<PrimitiveValType>,
    ) {
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::CoreInstanceExport { instance: own.instance, kind: ExportKind::Func, name: function });
        let pages = pages.map(ComponentValType::Primitive);
        let mut types = ComponentTypeSection::new();
        types.function().params(pages.map(|pages| ("pages", pages))).result(pages);
        let mut functions = CanonicalFunctionSection::new();
        functions.lift(own.functions, own.types, []);
        out.section(&aliases).section(&types).section(&functions);
        own.functions += 1;
        own.types += 1;
        self.add(name);
    }

    /// Lifts what gives the component a handle of this type, and what drops one.
    fn hold(&mut self, out: &mut Component, own: &mut Own, resource: Resource, ty: u32) {
        let mut aliases = ComponentAliasSection::new();
        let name = accessor::ADOPT;
        aliases.alias(Alias::CoreInstanceExport { instance: own.instance, kind: ExportKind::Func, name });
        let (handle, adopting, dropping) = (own.types, own.types + 1, own.types + 2);
        let index = ComponentValType::Primitive(PrimitiveValType::U32);
        let mut types = ComponentTypeSection::new();
        types.defined_type().own(ty);
        types.function().params([("handle", ComponentValType::Type(handle))]).result(Some(index));
        types.function().params([("index", index)]).result(None);
        let mut functions = CanonicalFunctionSection::new();
        functions.lift(own.functions, adopting, []);
        functions.resource_drop(ty);
        functions.lift(own.functions + 1, dropping, []);
        out.section(&aliases).section(&types).section(&functions);
        own.functions += 2;
        own.types += 3;
        self.add(adopt(resource));
        self.add(dispose(resource));
    }

    /// Exports what a nested component exports, under the numbers that follow.
    fn pass_on(&mut self, out: &mut Component, instance: u32, plan: &Plan) {
        let mut aliases = ComponentAliasSection::new();
        aliases.alias(Alias::InstanceExport { instance, kind: ComponentExportKind::Instance, name: ACCESS });
        let access = self.instances;
        self.instances += 1;
        let mut alias = |name: &str| {
            aliases.alias(Alias::InstanceExport { instance: access, kind: ComponentExportKind::Func, name });
        };
        for accessor in 0..plan.globals.len() {
            alias(&save(accessor));
            self.add(save(self.accessors));
            alias(&load(accessor));
            self.add(load(self.accessors));
            self.accessors += 1;
        }
        for memory in 0..plan.guest_memories().count() {
            alias(&grow(memory));
            self.add(grow(self.memories));
            self.memories += 1;
        }
        out.section(&aliases);
    }

    /// Notes the component function that was just defined.
    fn add(&mut self, name: String) {
        self.items.push((name, self.functions));
        self.functions += 1;
    }

    fn finish(self, out: &mut Component) {
        let mut instances = ComponentInstanceSection::new();
        let items = self.items.iter().map(|(name, index)| (name.as_str(), ComponentExportKind::Func, *index));
        instances.export_items(items.collect::<Vec<_>>());
        out.section(&instances);
        let mut exports = ComponentExportSection::new();
        exports.export(ACCESS, ComponentExportKind::Instance, self.instances, None);
        out.section(&exports);
    }
}

impl Reencode for Rewrite<'_> {
    type Error = Infallible;
}

impl ReencodeComponent for Rewrite<'_> {
    fn module_index(&mut self, module: u32) -> u32 {
        module + self.shift()
    }

    fn instance_index(&mut self, instance: u32) -> u32 {
        instance + self.shift()
    }

    fn outer_module_index(&mut self, count: u32, module: u32) -> u32 {
        let has_keeper = match (count as usize).checked_sub(1) {
            None => self.survey.has_keeper(),
            Some(level) => self.outer.iter().rev().nth(level).copied().unwrap_or_default(),
        };
        module + u32::from(has_keeper)
    }

    fn parse_component_submodule(
        &mut self,
        out: &mut Component,
        _parser: Parser,
        wasm: &[u8],
    ) -> Result<(), reencode::Error> {
        let data = self.survey.defined_modules.get(self.next_module).map_or(wasm, |module| &module.bytes);
        self.next_module += 1;
        out.section(&RawSection { id: ComponentSectionId::CoreModule as u8, data });
        Ok(())
    }

    fn parse_component_subcomponent(
        &mut self,
        out: &mut Component,
        parser: Parser,
        wasm: &[u8],
        whole: &[u8],
    ) -> Result<(), reencode::Error> {
        let survey = self.survey;
        let Some(nested) = survey.defined_components.get(self.next_component) else { return Ok(()) };
        self.next_component += 1;
        let outer = self.outer.iter().copied().chain([survey.has_keeper()]).collect();
        let nested =
            Rewrite { survey: nested, outer, stack_slots: self.stack_slots, next_module: 0, next_component: 0 };
        out.section(&NestedComponentSection(&nested.rewrite(parser, wasm, whole)?));
        Ok(())
    }

    fn parse_instance(
        &mut self,
        instances: &mut InstanceSection,
        instance: Instance<'_>,
    ) -> Result<(), reencode::Error> {
        let Instance::Instantiate { module_index, args } = instance else {
            return component_utils::parse_instance(self, instances, instance);
        };
        let mut arguments = Vec::with_capacity(args.len() + 1);
        for argument in &args {
            let InstantiationArgKind::Instance = argument.kind;
            arguments.push((argument.name, ModuleArg::Instance(self.instance_index(argument.index))));
        }
        if self.survey.modules.get(module_index as usize).is_some_and(|module| module.counts_calls) {
            arguments.push((keeper::NAME, ModuleArg::Instance(0)));
        }
        instances.instantiate(self.module_index(module_index), arguments);
        Ok(())
    }
}
