//! `#[derive(Tree)]`: a struct or enum whose fields are trees is a tree.
//!
//! The implementation visits the fields in order, after the type itself as a constant, between an `Open` that names it (for an enum, with
//! the variant's number) and a `Close`. Paths go through `::lazuli`. Absent: unions, and attributes: a field that is no tree is an error at that field.
#![forbid(unsafe_code)]

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Fields, parse_macro_input, parse_quote};

/// Implements `lazuli::Tree`, field by field.
#[proc_macro_derive(Tree)]
pub fn derive_tree(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(parse_macro_input!(input as DeriveInput)).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(mut input: DeriveInput) -> syn::Result<TokenStream> {
    for parameter in input.generics.type_params_mut() {
        parameter.bounds.push(parse_quote!(::lazuli::Tree));
    }
    let name = &input.ident;
    let text = name.to_string();
    let (generics, arguments, condition) = input.generics.split_for_impl();
    let variants: Vec<(TokenStream, &Fields)> = match &input.data {
        Data::Struct(data) => vec![(quote!(#name), &data.fields)],
        Data::Enum(data) => data.variants.iter().map(|v| (variant_path(name, &v.ident), &v.fields)).collect(),
        Data::Union(_) => {
            return Err(Error::new_spanned(name, "a union is not a tree: which field holds is not known"));
        }
    };
    let (mut visit, mut visit_mut) = (Vec::new(), Vec::new());
    for (index, (path, fields)) in variants.iter().enumerate() {
        let bound: Vec<_> = (0..fields.len()).map(|i| format_ident!("field_{i}")).collect();
        let pattern = match fields {
            Fields::Named(named) => {
                let names = named.named.iter().map(|f| &f.ident);
                quote!(#path { #(#names: #bound),* })
            }
            Fields::Unnamed(_) => quote!(#path(#(#bound),*)),
            Fields::Unit => quote!(#path),
        };
        // Spanned by the field's type, so that a type that is no tree is reported there.
        let each = fields.iter().zip(&bound).map(|(f, b)| quote_spanned!(f.ty.span()=> ::lazuli::Tree::visit(#b, f);));
        let each_mut =
            fields.iter().zip(&bound).map(|(f, b)| quote_spanned!(f.ty.span()=> ::lazuli::Tree::visit_mut(#b, f);));
        visit.push(quote!(#pattern => { f(::lazuli::tree::Leaf::Open(#text, #index)); #(#each)* }));
        visit_mut.push(quote!(#pattern => { #(#each_mut)* }));
    }
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::lazuli::Tree for #name #arguments #condition {
            fn visit<'a>(&'a self, f: &mut dyn ::core::ops::FnMut(::lazuli::tree::Leaf<'a>)) {
                // Behind a `Box<dyn …>` types of one name and one structure may still compute different things.
                f(::lazuli::tree::Leaf::Constant(::lazuli::tree::Constant::new::<Self>(&[])));
                match self { #(#visit)* }
                f(::lazuli::tree::Leaf::Close);
            }
            #[allow(unused_variables)]
            fn visit_mut(&mut self, f: &mut dyn ::core::ops::FnMut(::lazuli::tree::LeafMut<'_>)) {
                match self { #(#visit_mut)* }
            }
        }
    })
}

fn variant_path(name: &syn::Ident, variant: &syn::Ident) -> TokenStream {
    quote!(#name::#variant)
}
