//! `#[derive(Tree)]`: a struct or enum whose fields are trees is a tree. `#[derive(Module)]`: one whose fields are modules is also the
//! module that applies them in order.
//!
//! The tree is visited in the order of the fields: `Open` with the type's name (for an enum, with the variant's number), the type itself
//! as a constant, each field behind its name, `Close`. A field's attribute `#[tree(…)]` says how it differs:
//!
//! | attribute | the field |
//! | --- | --- |
//! | `constant` | is a constant of a type that is `Hash`: a compiled function is traced anew when it changes |
//! | `fixed` | is not differentiated, as running statistics are not |
//! | `skip` | is left out: it must not change what functions of the tree compute, and in a state it stays the caller's |
//! | `name = "Wx"` | has another name in paths |
//!
//! Paths go through `::lazuli`. Absent: unions, and attributes of whole types.
#![forbid(unsafe_code)]

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Generics, LitStr, TypeParamBound, parse_macro_input, parse_quote};

/// Implements `lazuli::Tree`, field by field; attributes of fields are `#[tree(constant)]`, `#[tree(fixed)]`, `#[tree(skip)]` and
/// `#[tree(name = "…")]`.
#[proc_macro_derive(Tree, attributes(tree))]
pub fn derive_tree(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    run(input, |input| input.tree())
}

/// Implements `lazuli::Tree` and `lazuli::nn::Module`, whose `forward` applies the fields in order; of an enum, those of the variant.
/// Fields that are constant or left out are passed over. For another `forward` derive `Tree` and implement `Module` by hand.
#[proc_macro_derive(Module, attributes(tree))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    run(input, |input| {
        let (tree, module) = (input.tree(), input.module());
        quote!(#tree #module)
    })
}

fn run(input: proc_macro::TokenStream, expand: impl Fn(&Input) -> TokenStream) -> proc_macro::TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    Input::new(input).map(|input| expand(&input)).unwrap_or_else(Error::into_compile_error).into()
}

struct Input {
    name: Ident,
    generics: Generics,
    variants: Vec<Variant>,
}

struct Variant {
    /// The pattern that binds the parts, and one that binds those of another value.
    pattern: TokenStream,
    other: TokenStream,
    parts: Vec<Part>,
}

/// A field, bound to a variable, and that of another value to another.
struct Part {
    bound: Ident,
    other: Ident,
    name: String,
    role: Role,
    span: Span,
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Tree,
    Constant,
    Fixed,
    Skipped,
}

impl Input {
    fn new(input: DeriveInput) -> syn::Result<Input> {
        let name = input.ident;
        let variants = match input.data {
            Data::Struct(data) => vec![Variant::new(quote!(#name), &data.fields)?],
            Data::Enum(data) => {
                let variant = |v: &syn::Variant| {
                    let ident = &v.ident;
                    Variant::new(quote!(#name::#ident), &v.fields)
                };
                data.variants.iter().map(variant).collect::<syn::Result<_>>()?
            }
            Data::Union(_) => {
                return Err(Error::new_spanned(name, "a union is not a tree: which field holds is not known"));
            }
        };
        Ok(Input { name, generics: input.generics, variants })
    }

    /// `impl … Trait for Name …` with these bounds on every type parameter.
    fn implement(&self, bounds: &[TypeParamBound], of: TokenStream, body: TokenStream) -> TokenStream {
        let mut generics = self.generics.clone();
        for parameter in generics.type_params_mut() {
            parameter.bounds.extend(bounds.iter().cloned());
        }
        let name = &self.name;
        let (generics, arguments, condition) = generics.split_for_impl();
        quote! {
            #[automatically_derived]
            impl #generics #of for #name #arguments #condition { #body }
        }
    }

    fn tree(&self) -> TokenStream {
        let text = self.name.to_string();
        let (mut visit, mut visit_mut, mut keep) = (Vec::new(), Vec::new(), Vec::new());
        for (index, Variant { pattern, other, parts }) in self.variants.iter().enumerate() {
            let each = parts.iter().map(Part::visit);
            let each_mut = parts.iter().map(Part::visit_mut);
            visit.push(quote!(#pattern => {
                f(::lazuli::tree::Leaf::Open(#text, #index));
                // Behind a `Box<dyn …>` types of one name and one structure may still compute different things.
                f(::lazuli::tree::Leaf::Constant(::lazuli::tree::Constant::new::<Self>(&[])));
                #(#each)*
            }));
            visit_mut.push(quote!(#pattern => { #(#each_mut)* }));
            let each_keep = parts.iter().map(Part::keep);
            keep.push(quote!((#pattern, #other) => { #(#each_keep)* }));
        }
        self.implement(
            &[parse_quote!(::lazuli::Tree)],
            quote!(::lazuli::Tree),
            quote! {
                #[allow(unused_variables)]
                fn visit<'a>(&'a self, f: &mut dyn ::core::ops::FnMut(::lazuli::tree::Leaf<'a>)) {
                    match self { #(#visit)* }
                    f(::lazuli::tree::Leaf::Close);
                }
                #[allow(unused_variables)]
                fn visit_mut(&mut self, f: &mut dyn ::core::ops::FnMut(::lazuli::tree::LeafMut<'_>)) {
                    match self { #(#visit_mut)* }
                }
                #[allow(unused_variables, unreachable_patterns)]
                fn keep_skipped(&mut self, of: &mut dyn ::core::any::Any) {
                    let ::core::option::Option::Some(of) = of.downcast_mut::<Self>() else { return };
                    match (self, of) {
                        #(#keep)*
                        _ => {}
                    }
                }
            },
        )
    }

    fn module(&self) -> TokenStream {
        let arms = self.variants.iter().map(|Variant { pattern, parts, .. }| {
            let modules = parts.iter().filter(|p| matches!(p.role, Role::Tree | Role::Fixed));
            let each = modules.map(
                |Part { bound, span, .. }| quote_spanned!(*span=> let x = ::lazuli::nn::Module::forward(#bound, &x);),
            );
            quote!(#pattern => { #(#each)* x })
        });
        self.implement(
            &[parse_quote!(::lazuli::nn::Module), parse_quote!(::core::clone::Clone)],
            quote!(::lazuli::nn::Module),
            quote! {
                #[allow(unused_variables)]
                #[track_caller]
                fn forward(&self, x: &::lazuli::Array) -> ::lazuli::Array {
                    let x = ::core::clone::Clone::clone(x);
                    match self { #(#arms)* }
                }
            },
        )
    }
}

impl Variant {
    fn new(path: TokenStream, fields: &Fields) -> syn::Result<Variant> {
        let parts = fields.iter().enumerate().map(|(i, f)| Part::new(i, f)).collect::<syn::Result<Vec<Part>>>()?;
        let pattern = |bound: &[&Ident]| match fields {
            Fields::Named(named) => {
                let names = named.named.iter().map(|f| &f.ident);
                quote!(#path { #(#names: #bound),* })
            }
            Fields::Unnamed(_) => quote!(#path(#(#bound),*)),
            Fields::Unit => quote!(#path),
        };
        let (bound, other): (Vec<_>, Vec<_>) = parts.iter().map(|p| (&p.bound, &p.other)).unzip();
        let (pattern, other) = (pattern(&bound), pattern(&other));
        Ok(Variant { pattern, other, parts })
    }
}

impl Part {
    fn new(index: usize, field: &Field) -> syn::Result<Part> {
        let name =
            field.ident.as_ref().map_or(index.to_string(), |i| i.to_string().trim_start_matches("r#").to_owned());
        // Spanned by the field's type, so that a type that is no tree is reported there.
        let (bound, other) = (format_ident!("field_{index}"), format_ident!("other_{index}"));
        let mut part = Part { bound, other, name, role: Role::Tree, span: field.ty.span() };
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("tree")) {
            attribute.parse_nested_meta(|meta| {
                let role = match () {
                    () if meta.path.is_ident("constant") => Role::Constant,
                    () if meta.path.is_ident("fixed") => Role::Fixed,
                    () if meta.path.is_ident("skip") => Role::Skipped,
                    () if meta.path.is_ident("name") => {
                        part.name = meta.value()?.parse::<LitStr>()?.value();
                        return Ok(());
                    }
                    () => return Err(meta.error("expected `constant`, `fixed`, `skip` or `name = \"…\"`")),
                };
                if part.role != Role::Tree {
                    return Err(meta.error("a field is one of `constant`, `fixed` and `skip`"));
                }
                part.role = role;
                Ok(())
            })?;
        }
        Ok(part)
    }

    fn visit(&self) -> TokenStream {
        let Part { bound, name, span, .. } = self;
        let named = quote!(f(::lazuli::tree::Leaf::Name(::lazuli::tree::Name::Field(#name))););
        match self.role {
            Role::Skipped => quote!(),
            Role::Constant => {
                quote_spanned!(*span=> #named f(::lazuli::tree::Leaf::Constant(::lazuli::tree::Constant::hashed(#bound)));)
            }
            Role::Fixed => quote_spanned! {*span=>
                #named
                f(::lazuli::tree::Leaf::Open(::lazuli::tree::FIXED, 0));
                ::lazuli::Tree::visit(#bound, f);
                f(::lazuli::tree::Leaf::Close);
            },
            Role::Tree => quote_spanned!(*span=> #named ::lazuli::Tree::visit(#bound, f);),
        }
    }

    fn visit_mut(&self) -> TokenStream {
        let Part { bound, span, .. } = self;
        match self.role {
            Role::Skipped => quote!(),
            Role::Constant => quote_spanned!(*span=> f(::lazuli::tree::LeafMut::Constant(#bound));),
            Role::Tree | Role::Fixed => quote_spanned!(*span=> ::lazuli::Tree::visit_mut(#bound, f);),
        }
    }

    fn keep(&self) -> TokenStream {
        let Part { bound, other, span, .. } = self;
        match self.role {
            Role::Skipped => quote_spanned!(*span=> ::core::mem::swap(#bound, #other);),
            Role::Constant => quote!(),
            Role::Tree | Role::Fixed => quote_spanned!(*span=> ::lazuli::Tree::keep_skipped(#bound, #other);),
        }
    }
}
