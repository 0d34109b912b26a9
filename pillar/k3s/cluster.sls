# Empty: k3s.ports has these settings. The file remains for top files that name it.
{}
