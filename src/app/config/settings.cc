#include "app/config/settings.h"

namespace meridian::config {

const SettingTable& setting_table() {
  static const SettingTable table = [] {
    SettingTable made;
    add_node_settings(made);
    add_timeline_settings(made);
    add_identity_settings(made);
    add_role_settings(made);
    add_view_settings(made);
    add_publish_settings(made);
    add_ingest_settings(made);
    return made;
  }();
  return table;
}

}  // namespace meridian::config
