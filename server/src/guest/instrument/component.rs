//! The component: its core modules replaced by instrumented ones, the accessor appended and lifted.

use super::accessor::{Accessor, Export};
use super::core_module::{self, Instrumented};
use super::{ACCESS, Error, Plan};
use std::collections::BTreeMap;
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentExportKind, ComponentExportSection,
    ComponentInstanceSection, ComponentSectionId, ComponentTypeSection, ComponentValType, ExportKind, InstanceSection,
    ModuleArg, ModuleSection, PrimitiveValType, RawSection, ValType,
};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind, ExternalKind, Instance, Parser,
    Payload,
};

/// The rewritten component and what it offers. `wasm` is a component that has been validated.
pub(crate) fn instrument(wasm: &[u8]) -> Result<(Vec<u8>, Plan), Error> {
    let mut rewrite = Rewrite::default();
    rewrite.copy(wasm)?;
    rewrite.append_accessor()
}

/// How many of each there are so far: the index that the next one gets.
#[derive(Default)]
struct Counts {
    core_modules: u32,
    core_instances: u32,
    core_functions: u32,
    types: u32,
    functions: u32,
    instances: u32,
}

#[derive(Default)]
struct Rewrite {
    out: Component,
    counts: Counts,
    modules: BTreeMap<u32, Instrumented>,
    /// (module, core instance) in the order of instantiation.
    instantiated: Vec<(u32, u32)>,
}

impl Rewrite {
    /// Copies every section, instrumenting core modules and counting what the accessor must be placed after.
    fn copy(&mut self, wasm: &[u8]) -> Result<(), Error> {
        let mut payloads = Parser::new(0).parse_all(wasm);
        let mut depth = 0_u32;
        while let Some(payload) = payloads.next() {
            let payload = payload?;
            match &payload {
                Payload::ModuleSection { .. } | Payload::InstanceSection(_) if depth > 0 => {
                    return Err(Error::NestedModule);
                }
                Payload::ModuleSection { unchecked_range, .. } => {
                    self.core_module(&wasm[unchecked_range.clone()])?;
                    // The module's own payloads follow; its end is the first one seen.
                    for inner in payloads.by_ref() {
                        if let Payload::End(_) = inner? {
                            break;
                        }
                    }
                    continue;
                }
                _ if depth > 0 => {}
                other => {
                    if let Some((id, range)) = other.as_section() {
                        self.out.section(&RawSection { id, data: &wasm[range] });
                    }
                }
            }
            match payload {
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                other => self.count(other)?,
            }
        }
        Ok(())
    }

    fn core_module(&mut self, wasm: &[u8]) -> Result<(), Error> {
        let index = self.counts.core_modules;
        let module = core_module::instrument(&index.to_string(), wasm)?;
        self.out.section(&RawSection { id: ComponentSectionId::CoreModule as u8, data: &module.bytes });
        self.modules.insert(index, module);
        self.counts.core_modules += 1;
        Ok(())
    }

    fn count(&mut self, payload: Payload<'_>) -> Result<(), Error> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        self.instantiated.push((module_index, self.counts.core_instances));
                    }
                    self.counts.core_instances += 1;
                }
            }
            Payload::ComponentInstanceSection(section) => self.counts.instances += section.count(),
            Payload::ComponentTypeSection(section) => self.counts.types += section.count(),
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.count_alias(&alias?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        CanonicalFunction::Lift { .. } => self.counts.functions += 1,
                        _ => self.counts.core_functions += 1,
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.count_external(import?.ty.kind(), "imports")?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.count_external(export?.kind, "exports")?;
                }
            }
            Payload::ComponentStartSection { .. } => {
                return Err(Error::Unsupported { what: "has a start function".to_owned() });
            }
            _ => {}
        }
        Ok(())
    }

    fn count_alias(&mut self, alias: &ComponentAlias<'_>) -> Result<(), Error> {
        match alias {
            ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, .. } => self.counts.core_functions += 1,
            ComponentAlias::CoreInstanceExport { .. } => {}
            ComponentAlias::InstanceExport { kind, .. } => self.count_external(*kind, "aliases")?,
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => self.counts.types += 1,
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreType, .. } => {}
            ComponentAlias::Outer { kind, .. } => {
                return Err(Error::Unsupported { what: format!("aliases an outer {kind:?}") });
            }
        }
        Ok(())
    }

    fn count_external(&mut self, kind: ComponentExternalKind, how: &str) -> Result<(), Error> {
        match kind {
            ComponentExternalKind::Func => self.counts.functions += 1,
            ComponentExternalKind::Type => self.counts.types += 1,
            ComponentExternalKind::Instance => self.counts.instances += 1,
            other => return Err(Error::Unsupported { what: format!("{how} a {other:?}") }),
        }
        Ok(())
    }

    fn append_accessor(mut self) -> Result<(Vec<u8>, Plan), Error> {
        let mut accessor = Accessor::new();
        let mut arguments = Vec::new();
        for (module, instance) in &self.instantiated {
            // A module that was imported or aliased is not here; validation has seen to it that it exists.
            let Some(module) = self.modules.get(module) else { continue };
            let name = instance.to_string();
            for (export, ty) in &module.globals {
                accessor.global(&name, export, *ty)?;
            }
            for (export, ty) in &module.memories {
                accessor.memory(&name, export, *ty)?;
            }
            if !(module.globals.is_empty() && module.memories.is_empty()) {
                arguments.push((name, *instance));
            }
        }
        let plan = accessor.plan();
        let (module, exports) = accessor.finish();
        self.out.section(&ModuleSection(&module));
        let mut instances = InstanceSection::new();
        let arguments = arguments.iter().map(|(name, instance)| (name.as_str(), ModuleArg::Instance(*instance)));
        instances.instantiate(self.counts.core_modules, arguments.collect::<Vec<_>>());
        self.out.section(&instances);
        self.lift(&exports);
        Ok((self.out.finish(), plan))
    }

    /// Lifts the accessor's functions and exports them as one instance.
    fn lift(&mut self, exports: &[Export]) {
        let (mut aliases, mut types, mut functions, mut items) =
            (ComponentAliasSection::new(), ComponentTypeSection::new(), CanonicalFunctionSection::new(), Vec::new());
        for (position, export) in exports.iter().enumerate() {
            let position = position as u32;
            aliases.alias(Alias::CoreInstanceExport {
                instance: self.counts.core_instances,
                kind: ExportKind::Func,
                name: &export.name,
            });
            let value = export.value.map(|value| {
                ComponentValType::Primitive(if value == ValType::I64 {
                    PrimitiveValType::S64
                } else {
                    PrimitiveValType::S32
                })
            });
            types.function().params(value.map(|value| ("pages", value))).result(value);
            functions.lift(self.counts.core_functions + position, self.counts.types + position, []);
            items.push((export.name.as_str(), ComponentExportKind::Func, self.counts.functions + position));
        }
        self.out.section(&aliases).section(&types).section(&functions);
        let mut instances = ComponentInstanceSection::new();
        instances.export_items(items);
        self.out.section(&instances);
        let mut section = ComponentExportSection::new();
        section.export(ACCESS, ComponentExportKind::Instance, self.counts.instances, None);
        self.out.section(&section);
    }
}
