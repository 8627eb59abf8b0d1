-- Where requests to a service carry ids of projects and users: data only.
--
-- Contract: docs/foreign-ids.md has the same table, and its test compares them. A path is what stands behind
-- the version, and behind the project's id where the service has one there; `*` is one segment. The ids are
-- `<id>` in a path, the values of parameters of the query, and the texts at `name.name` of a body, also of each
-- item of a list; there `*` is any name, and "/name" the value of an operation of a JSON patch. At `refused` a
-- moved id could not work: why not.
-- Cost: none by itself.

local _M = {}

_M.image = {
  paths = { "/images/*/members/<id>" },
  queries = { "owner" },
  bodies = {
    { "POST", "/images/*/members", "member" },
    { "POST", "/images", "owner" },
    { "PATCH", "/images/*", "/owner" },
    { "POST", "/metadefs/namespaces", "owner" },
    { "PUT", "/metadefs/namespaces/*", "owner" },
  },
}

_M.compute = {
  paths = { "/os-quota-sets/<id>", "/os-simple-tenant-usage/<id>" },
  queries = { "project_id", "tenant_id", "user_id" },
  bodies = {
    { "POST", "/flavors/*/action", "addTenantAccess.tenant" },
    { "POST", "/flavors/*/action", "removeTenantAccess.tenant" },
    { "POST", "/os-keypairs", "keypair.user_id" },
  },
}

_M["block-storage"] = {
  paths = { "/os-quota-sets/<id>" },
  refused = {
    ["/default-types/<id>"] = "Cinder looks for the project in your own Keystone, where it has another id",
  },
  queries = { "project_id", "tenant_id", "user_id" },
  bodies = {
    { "POST", "/types/*/action", "addProjectAccess.project" },
    { "POST", "/types/*/action", "removeProjectAccess.project" },
  },
}

_M.network = {
  paths = { "/quotas/<id>", "/auto-allocated-topology/<id>" },
  queries = { "project_id", "tenant_id", "target_tenant" },
  -- "**": any path
  bodies = {
    { "POST", "**", "*.project_id" },
    { "POST", "**", "*.tenant_id" },
    { "POST", "**", "*.target_tenant" },
    { "PUT", "**", "*.project_id" },
    { "PUT", "**", "*.tenant_id" },
    { "PUT", "**", "*.target_tenant" },
  },
}

return _M
