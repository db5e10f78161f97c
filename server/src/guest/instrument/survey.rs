//! What a component is made of: its modules, rewritten, and what it instantiates, in order.

use super::core_module::CoreModule;
use super::{Error, Plan, PlannedMemory, Resource};
use std::collections::BTreeMap;
use std::rc::Rc;
use wasmparser::{
    CanonicalFunction, Chunk, ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentType, ComponentTypeRef, ExternalKind, Instance, Parser, Payload, TypeBounds,
};

/// How many of each there are: the index that the next one gets.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) core_instances: u32,
    pub(super) core_functions: u32,
    pub(super) types: u32,
    pub(super) functions: u32,
    pub(super) instances: u32,
}

/// An instantiation, with the index that the instance gets.
pub(super) enum Made {
    Core { module: Rc<CoreModule>, instance: u32 },
    Nested { component: Rc<Survey>, instance: u32 },
}

/// One component, which may be nested in others and be instantiated any number of times.
#[derive(Default)]
pub(super) struct Survey {
    /// The core modules that are defined in it, in order.
    pub(super) defined_modules: Vec<Rc<CoreModule>>,
    /// The components that are defined in it, in order.
    pub(super) defined_components: Vec<Rc<Survey>>,
    /// Core modules by their index.
    pub(super) modules: Vec<Rc<CoreModule>>,
    components: Vec<Rc<Survey>>,
    pub(super) made: Vec<Made>,
    pub(super) counts: Counts,
    /// How many keepers there are when it is instantiated once.
    pub(super) keepers: u32,
    /// The names of imported instances by their index.
    imported: BTreeMap<u32, String>,
    /// The types of known resources that it has from imported instances.
    known_resources: BTreeMap<Resource, u32>,
    /// Whether it may have handles of types that are its own, or imported by themselves.
    has_other_resources: bool,
    /// Whether it has types from instances, which may be resources.
    has_types_of_instances: bool,
}

impl Survey {
    /// Goes through the component `wasm`, a part of `whole` that has been validated. `path` is how messages call it.
    pub(super) fn of(
        parser: Parser,
        wasm: &[u8],
        whole: &[u8],
        path: &str,
        outer: &[&Survey],
        counts_calls: bool,
    ) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        let (mut parser, mut rest) = (parser, wasm);
        while !rest.is_empty() {
            let Chunk::Parsed { consumed, payload } = parser.parse(rest, true)? else { break };
            rest = &rest[consumed..];
            match payload {
                Payload::ModuleSection { unchecked_range, .. } => {
                    rest = &rest[unchecked_range.len()..];
                    let name = format!("{path}{}", survey.modules.len());
                    let module = Rc::new(CoreModule::new(&name, &whole[unchecked_range], counts_calls)?);
                    survey.defined_modules.push(Rc::clone(&module));
                    survey.modules.push(module);
                }
                Payload::ComponentSection { parser, unchecked_range } => {
                    rest = &rest[unchecked_range.len()..];
                    let path = format!("{path}{}/", survey.components.len());
                    let outer: Vec<&Survey> = outer.iter().copied().chain([&survey]).collect();
                    let nested = Survey::of(parser, &whole[unchecked_range], whole, &path, &outer, counts_calls)?;
                    let nested = Rc::new(nested);
                    survey.defined_components.push(Rc::clone(&nested));
                    survey.components.push(nested);
                }
                other => survey.section(other, outer)?,
            }
        }
        let nested = survey.made.iter().map(|made| match made {
            Made::Core { .. } => 0,
            Made::Nested { component, .. } => component.keepers,
        });
        survey.keepers = nested.fold(u32::from(survey.has_keeper()), u32::saturating_add);
        Ok(survey)
    }

    fn section(&mut self, payload: Payload<'_>, outer: &[&Survey]) -> Result<(), Error> {
        match payload {
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let module = Rc::clone(known(&self.modules, module_index)?);
                        self.made.push(Made::Core { module, instance: self.counts.core_instances });
                    }
                    self.counts.core_instances += 1;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let component = Rc::clone(known(&self.components, component_index)?);
                        self.made.push(Made::Nested { component, instance: self.counts.instances });
                    }
                    self.counts.instances += 1;
                }
            }
            Payload::ComponentTypeSection(section) => {
                self.counts.types += section.count();
                for ty in section {
                    self.has_other_resources |= matches!(ty?, ComponentType::Resource { .. });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.alias(&alias?, outer)?;
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
                    let import = import?;
                    match import.ty {
                        ComponentTypeRef::Instance(_) => {
                            self.imported.insert(self.counts.instances, import.name.name.to_owned());
                        }
                        ComponentTypeRef::Type(TypeBounds::SubResource) => self.has_other_resources = true,
                        _ => {}
                    }
                    self.external(import.ty.kind(), "imports")?;
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.external(export?.kind, "exports")?;
                }
            }
            Payload::ComponentStartSection { .. } => {
                return Err(Error::Unsupported { what: "has a start function".to_owned() });
            }
            _ => {}
        }
        Ok(())
    }

    fn alias(&mut self, alias: &ComponentAlias<'_>, outer: &[&Survey]) -> Result<(), Error> {
        match alias {
            ComponentAlias::CoreInstanceExport { kind: ExternalKind::Func, .. } => self.counts.core_functions += 1,
            ComponentAlias::CoreInstanceExport { .. } => {}
            ComponentAlias::InstanceExport { kind, instance_index, name } => {
                if *kind == ComponentExternalKind::Type {
                    self.has_types_of_instances = true;
                    let resource = self.imported.get(instance_index).and_then(|from| Resource::named(from, name));
                    if let Some(resource) = resource {
                        self.known_resources.entry(resource).or_insert(self.counts.types);
                    }
                }
                self.external(*kind, "aliases")?;
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Type, .. } => self.counts.types += 1,
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreType, .. } => {}
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                let module = Rc::clone(known(&self.scope(*count, outer)?.modules, *index)?);
                self.modules.push(module);
            }
            ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                let component = Rc::clone(known(&self.scope(*count, outer)?.components, *index)?);
                self.components.push(component);
            }
        }
        Ok(())
    }

    /// The component that is `count` levels out.
    fn scope<'a>(&'a self, count: u32, outer: &[&'a Survey]) -> Result<&'a Survey, Error> {
        match (count as usize).checked_sub(1) {
            None => Ok(self),
            Some(level) => outer.iter().rev().nth(level).copied().ok_or_else(unknown),
        }
    }

    fn external(&mut self, kind: ComponentExternalKind, how: &str) -> Result<(), Error> {
        match kind {
            ComponentExternalKind::Func => self.counts.functions += 1,
            ComponentExternalKind::Type => self.counts.types += 1,
            ComponentExternalKind::Instance => self.counts.instances += 1,
            // Which module or component it is would be known to whoever instantiates this one only.
            other => return Err(Error::Unsupported { what: format!("{how} a {other:?}") }),
        }
        Ok(())
    }

    /// The resource types whose handles the host can put into its table, with the indices of the types; none if something
    /// else may put handles there, of which nobody would know.
    pub(super) fn resources(&self) -> Vec<(Resource, u32)> {
        let is_known = !self.has_other_resources && !self.defined_components.iter().any(|nested| nested.may_hold());
        match self.has_keeper() && is_known {
            true => self.known_resources.iter().map(|(resource, ty)| (*resource, *ty)).collect(),
            false => Vec::new(),
        }
    }

    /// Whether it, or one nested in it, may have handles.
    fn may_hold(&self) -> bool {
        let nested = || self.defined_components.iter().any(|nested| nested.may_hold());
        self.has_other_resources || self.has_types_of_instances || nested()
    }

    /// Whether it gets a keeper: it instantiates a core module that is captured or counted.
    pub(super) fn has_keeper(&self) -> bool {
        self.made.iter().any(|made| matches!(made, Made::Core { module, .. } if module.is_rewritten()))
    }

    /// How many globals its own accessor captures.
    pub(super) fn globals(&self) -> usize {
        self.made
            .iter()
            .map(|made| match made {
                Made::Core { module, .. } => module.globals.len(),
                Made::Nested { .. } => 0,
            })
            .sum()
    }

    /// What the host finds when the component has been instantiated.
    pub(super) fn plan(&self) -> Plan {
        let mut plan = Plan::default();
        if self.has_keeper() {
            plan.globals.push(self.globals());
            plan.memories.push(PlannedMemory::Keeper);
        }
        for made in &self.made {
            match made {
                Made::Core { module, .. } => {
                    let memories = module.memories.iter().map(|(_, ty)| PlannedMemory::Guest { wide: ty.memory64 });
                    plan.memories.extend(memories);
                }
                Made::Nested { component, .. } if component.keepers == 0 => {}
                Made::Nested { component, .. } => {
                    let nested = component.plan();
                    plan.globals.extend(nested.globals);
                    plan.memories.extend(nested.memories);
                }
            }
        }
        plan
    }
}

fn known<T>(space: &[T], index: u32) -> Result<&T, Error> {
    space.get(index as usize).ok_or_else(unknown)
}

/// Validation has seen to it that this cannot happen.
fn unknown() -> Error {
    Error::Unsupported { what: "refers to what it does not have".to_owned() }
}
